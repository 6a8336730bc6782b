"""What a page says about the data, above all where no patients are published."""

import re

import pandas as pd
import pytest

from covbench.audit.tables import AUDIT_TABLES
from covbench.data.datasets import TASKS
from covbench.reporting.gather import read_results
from covbench.reporting.page import describe_size
from covbench.reporting.render import _environment
from covbench.reporting.sections.data_overview import (
    build_dataset_sections,
    build_dataset_table,
    build_flow_table,
    build_split_table,
)
from covbench.system.files import write_table
from tests.synthetic_results import draw_tree, plan_runs

TASK_NAMES = ["radiography", "ieee8023_xray"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A dataset without patients and one with three images of each patient."""
    root = tmp_path_factory.mktemp("data")
    plan = plan_runs({name: ["vgg16"] for name in TASK_NAMES}, protocols=("published",), seeds=(0,))
    draw_tree(root, plan)
    audited = [(name, "source", 88, groups) for name, groups in zip(TASK_NAMES, (88, 30), strict=True)]
    columns = ["task", "predictor", "images", "groups"]
    table = pd.DataFrame(audited, columns=columns).reindex(columns=list(AUDIT_TABLES["sources"]))
    write_table(root / "results" / "audit" / "sources.csv", table)
    results = read_results(root / "results", plan, root / "results" / "compare", root / "results" / "report")
    return root, results


def columns_of(table):
    headings = [heading for heading, _ in table.columns]
    return {row[0].text: dict(zip(headings, row, strict=True)) for row in table.rows}


def test_a_dataset_without_patients_shows_its_groups_and_no_number_of_patients(root):
    folder, results = root
    sections = build_dataset_sections(folder / "data", TASK_NAMES, results.audit)
    rows = columns_of(build_dataset_table(sections, results.audit["sources"]))
    assert (rows["radiography"]["Patients"].text, rows["radiography"]["Groups"].text) == ("not published", "88")
    assert (rows["ieee8023"]["Patients"].text, rows["ieee8023"]["Groups"].text) == ("30", "30")


def test_folds_without_patients_share_groups_but_no_number_of_patients(root):
    folder, results = root
    rows = columns_of(build_split_table(folder / "data", results, TASK_NAMES))
    unknown, known = rows["radiography"], rows["ieee8023_xray"]
    assert unknown["Shared patients"].text == "not published"
    assert int(unknown["Shared groups"].text) > 0
    assert unknown["Test"].detail.endswith("groups (patients not published)")
    assert int(known["Shared patients"].text) == int(known["Shared groups"].text) > 0


def test_the_size_of_a_test_fold_names_patients_only_where_they_are_published(root):
    folder, results = root
    unknown, known = (describe_size(results, TASKS[name]) for name in TASK_NAMES)
    assert re.fullmatch(r"published: \d+ test images in \d+ groups \(patients not published\)", unknown)
    assert " patients in " in known
    runs = results.runs.set_index("task")
    assert pd.isna(runs.loc["radiography", "patients"])
    split = pd.read_parquet(folder / "data/splits/radiography/published/0.parquet").query("fold == 'test'")
    assert runs.loc["radiography", "groups"] == split["group"].nunique()
    assert runs.loc["ieee8023_xray", "patients"] == runs.loc["ieee8023_xray", "groups"]


def test_the_card_of_a_dataset_counts_the_files_that_are_not_read(root):
    folder, results = root
    path = folder / "data" / "index" / "radiography.parquet"
    index = pd.read_parquet(path)
    index.attrs["unread"] = {".webp": 1200, "no suffix": 1}
    write_table(path, index)
    sections = {section.name: section for section in build_dataset_sections(folder / "data", TASK_NAMES, results.audit)}
    assert sections["radiography"].unread == "1,200 .webp, 1 no suffix"
    assert sections["ieee8023"].unread == ""
    template = _environment().from_string(
        "{% from 'macros.html.j2' import dataset_card with context %}{{ dataset_card(dataset) }}"
    )
    assert "<dt>Files not read</dt><dd>1,200 .webp, 1 no suffix</dd>" in template.render(
        dataset=sections["radiography"], root=""
    )


def test_the_flow_of_the_lowest_seed_shows_patients_and_the_reasons_below():
    steps = [
        ("seen", "", 9, 5, None),
        ("excluded", "lateral view", 2, 2, None),
        ("excluded", "file missing", 1, 1, None),
    ]
    steps += [("usable", "", 6, 3, 2), ("train", "", 4, 2, 1), ("val", "", 1, 1, 1), ("test", "", 1, 1, 1)]
    columns = ["step", "reason", "images", "patients", "groups"]
    flow = pd.DataFrame(steps, columns=columns).assign(**{"task": "t", "protocol": "audited", "class": "covid"})
    table = build_flow_table(pd.concat([flow.assign(seed=1, images=0), flow.assign(seed=0)]))
    (row,) = table.rows
    cells = dict(zip([heading for heading, _ in table.columns], row, strict=True))
    assert {name: cell.text for name, cell in cells.items() if cell.sort != cell.text} == {
        "Protocol": "audited",
        "Seen": "9",
        "Excluded": "3",
        "Usable": "6",
        "In no fold": "0",
        "Train": "4",
        "Validation": "1",
        "Test": "1",
    }
    assert (cells["Train"].detail, cells["Excluded"].detail) == ("2 patients", "")
    assert table.notes == ["covid, excluded: 2 lateral view; 1 file missing."]
