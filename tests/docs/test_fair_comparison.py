"""docs/explanation/fair-comparison.md says what each network was given, as the code and the config have it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields

import pytest
import yaml

from covbench.data.datasets import TASKS
from covbench.protocols import AUDITED, PUBLISHED, PUBLISHED_AUDITED_SPLIT, Options, protocol_options
from covbench.schema import CLASSIFICATION, SEGMENTATION
from tests.docs.reading import ROOT, SPAN

PAGE = (ROOT / "docs" / "explanation" / "fair-comparison.md").read_text(encoding="utf-8")
CONFIG = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
FIELDS = [field.name for field in fields(Options)]


def read_rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its header."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def read_values(cell: str) -> list[object]:
    return [yaml.safe_load(span) for span in SPAN.findall(cell)]


def list_options(protocol: str, task: str) -> list[Options]:
    """The options of every network that the config plans for a task."""
    networks = [*CONFIG["architectures"][TASKS[task].kind], *CONFIG["architectures"].get(task, ())]
    return [protocol_options(protocol, TASKS[task], network) for network in networks]


def test_the_numbers_of_networks_trainings_and_changes_are_those_of_the_config():
    numbers = [int(number) for _, number in read_rows("The same for all")]
    networks = CONFIG["architectures"]
    assert numbers == [
        len(networks[CLASSIFICATION]),
        len(networks[SEGMENTATION]),
        len(networks["zenodo_infection"]),
        len(CONFIG["seeds"]),
        1,
        len(CONFIG["options"]),
    ]


def test_audited_gives_every_network_of_a_kind_the_options_of_the_table():
    rows = {read_values(option)[0]: cells for option, *cells in read_rows("Under `audited`")}
    for task in CONFIG["tasks"]:
        column = (CLASSIFICATION, SEGMENTATION).index(TASKS[task].kind)
        for options in list_options(AUDITED, task):
            for option, cells in rows.items():
                assert read_values(cells[column]) == [getattr(options, str(option))], (task, option)
            assert options.scaling == "own"


def test_audited_gives_networks_no_option_that_differs():
    for kind in (CLASSIFICATION, SEGMENTATION):
        tasks = [task for task in CONFIG["tasks"] if TASKS[task].kind == kind]
        assert len({options for task in tasks for options in list_options(AUDITED, task)}) == 1


@pytest.mark.parametrize("protocol", [PUBLISHED, PUBLISHED_AUDITED_SPLIT])
def test_the_table_lists_every_option_that_the_study_varied_and_every_value(protocol):
    found = defaultdict(set)
    for task in CONFIG["tasks"]:
        for name in FIELDS:
            found[task, name] = {getattr(options, name) for options in list_options(protocol, task)}
    varied = {key: values for key, values in found.items() if len(values) > 1}
    rows = read_rows("Under `published` and `published_audited_split`")
    assert varied == {(*read_values(task), *read_values(option)): set(read_values(cell)) for task, option, cell in rows}
    assert {"ieee8023_xray", "medseg_multiclass"} & {task for task, _ in varied} == set()
