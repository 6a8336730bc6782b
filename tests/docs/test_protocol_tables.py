"""docs/explanation/protocols.md states every option of every protocol, and states it as the code has it."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from itertools import product

import pytest
import yaml

from covbench.data.datasets import DATASETS, TASKS, dataset_of
from covbench.models.catalogue import CLASSIFIERS, DEFAULT_CLASSIFIERS, SEGMENTERS
from covbench.protocols import AUDITED, PUBLISHED, Options, protocol_options
from covbench.schema import CLASSIFICATION, SEGMENTATION
from tests.docs.reading import ROOT, SPAN

PAGE = (ROOT / "docs" / "explanation" / "protocols.md").read_text(encoding="utf-8")
FIELDS = [field.name for field in fields(Options)]
KINDS = (CLASSIFICATION, SEGMENTATION)
STUDIED = [name for name in TASKS if not DATASETS[dataset_of(name)].CARD.synthetic]
NETWORKS = {CLASSIFICATION: DEFAULT_CLASSIFIERS, SEGMENTATION: tuple(SEGMENTERS)}


@dataclass(frozen=True)
class Row:
    """What one row of the page says of an option, for the tasks and networks that it names."""

    option: str
    named: frozenset[str]
    study: str
    where: str
    value: str
    why: str

    def rank(self, task: str, kind: str, network: str) -> int:
        """How closely the row is about a network of a task: 3 by network, 2 by task, 1 by kind, 0 not at all."""
        networks = self.named & (CLASSIFIERS.keys() | SEGMENTERS.keys())
        if task not in self.named and kind not in self.named:
            return 0
        if networks:
            return 3 if network in networks else 0
        return 2 if task in self.named else 1


def read_table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its header."""
    section = re.split(r"^#+ ", PAGE.split(f"{heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def read_value(cell: str) -> object:
    """What the first code span of a cell says; None without any."""
    spans = SPAN.findall(cell)
    return yaml.safe_load(spans[0]) if spans else None


def read_rows(kind: str) -> list[Row]:
    rows = []
    for option, named, *rest in read_table(f"### Options of {kind}"):
        cells = [cell.removesuffix(" |").removesuffix("|").strip() for cell in rest]
        rows.append(Row(str(read_value(option)), frozenset(SPAN.findall(named)), *cells))
    return rows


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_of_published_is_stated_for_every_task_and_network_as_the_code_has_it(kind):
    rows = read_rows(kind)
    tasks = [TASKS[name] for name in STUDIED if TASKS[name].kind == kind]
    for task, network, option in product(tasks, ("", *NETWORKS[kind]), FIELDS):
        ranked = [(row.rank(task.name, kind, network), row) for row in rows if row.option == option]
        closest = max((rank for rank, _ in ranked), default=0)
        found = [row for rank, row in ranked if rank == closest > 0]
        assert len(found) == 1, f"{option} of {network or 'any network'} for {task.name}: {len(found)} rows"
        expected = getattr(protocol_options(PUBLISHED, task, network), option)
        assert read_value(found[0].value) == expected, f"{option} of {network or 'any network'} for {task.name}"


@pytest.mark.parametrize("kind", KINDS)
def test_every_row_names_known_tasks_and_networks_and_an_option(kind):
    for row in read_rows(kind):
        assert row.option in FIELDS
        assert row.named <= {*KINDS, *TASKS, *CLASSIFIERS, *SEGMENTERS}, row
        assert row.named & {kind, *TASKS}, row


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_departs_from_the_study_says_why(kind):
    for row in read_rows(kind):
        stated = read_value(row.study)
        assert row.why or stated is None or stated == read_value(row.value), row


def test_the_options_of_audited_are_stated_as_the_code_has_them():
    table = {read_value(option): cells for option, *cells in read_table("## What `audited` chooses")}
    assert list(table) == FIELDS or set(table) == set(FIELDS)
    for option, cells in table.items():
        for cell, kind in zip(cells, KINDS, strict=False):
            for name in (name for name in TASKS if TASKS[name].kind == kind):
                assert read_value(cell) == getattr(protocol_options(AUDITED, TASKS[name]), str(option)), option
