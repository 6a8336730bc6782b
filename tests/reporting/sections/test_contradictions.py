"""Contradictory labels in the report: every row in a table, both pictures, and a flag on the dataset's card."""

import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covbench.audit.duplicates import SIDE, Thumbnails
from covbench.audit.tables import AUDIT_TABLES
from covbench.audit.thumbnails import write_thumbnails
from covbench.reporting.page import build_report
from covbench.reporting.sections.contradictions import SHOWN, draw_contradictions, flag_labels
from covbench.system.files import write_table
from tests.synthetic_results import plan_runs

PLAN = plan_runs(
    {"covid_ct": ["vgg16"], "ieee8023_xray": ["vgg16"], "radiography": ["vgg16"]}, protocols=("audited",), seeds=(0,)
)
TOGETHER = "kept in one fold with its group"
KEPT, GONE = "kept in the authors' test fold", "dropped from the authors' train fold"
ROWS = {
    "contradictions": [
        ("covid_ct", "covid_ct", "c/1", "covid", "test", KEPT, "n/2", "non_covid", "train", GONE, "annotated", 0.97),
        ("ieee8023_xray", "radiography", "x", "non_covid", "", TOGETHER, "001", "covid", "", TOGETHER, "near", 0.93),
    ],
    "mixed_patients": [
        ("ieee8023_xray", "318", "y", "covid", "", TOGETHER),
        ("ieee8023_xray", "318", "z", "non_covid", "", TOGETHER),
    ],
    "dropped": [
        ("covid_ct", "n/2", "p7", "non_covid", "train", "annotated", "c/1", "covid", "test", 1),
        ("covid_ct", "n/3", "p8", "non_covid", "train", "patient", "n/4", "non_covid", "val", 0),
    ],
}
TABLES = {name: pd.DataFrame(rows, columns=list(AUDIT_TABLES[name])) for name, rows in ROWS.items()}


def write_pictures(data, dataset, grey):
    """Thumbnails of one grey each, by image."""
    images = np.stack([np.full((SIDE, SIDE), value, np.uint8) for value in grey.values()])
    nothing, shapes = np.zeros((len(grey), 13, 32), np.uint8), np.full((len(grey), 2), SIDE)
    write_thumbnails(data / "thumbnails" / f"{dataset}.npz", Thumbnails(np.array([*grey]), images, nothing, shapes))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("contradictions")
    for name, table in TABLES.items():
        write_table(root / "results" / "audit" / f"{name}.csv", table)
    write_pictures(root / "data", "covid_ct", {"c/1": 11, "n/2": 22})
    write_pictures(root / "data", "ieee8023", {"x": 33, "y": 44, "z": 55})
    write_pictures(root / "data", "radiography", {"001": 66})
    build_report(root / "results", root / "data", PLAN, root / "results" / "report", "Contradictions", {})
    return root


def read_section(root, page, name="audit"):
    return (root / "results/report" / page).read_text().split(f'<section id="{name}"')[1].split("</section>")[0]


def read_rows(html, caption):
    """The cells of each row of the table with this caption."""
    (table,) = [table for table in html.split("<table")[1:] if caption in table.split("</caption>")[0]]
    rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.S) for row in table.split("<tbody>")[1].split("<tr>")[1:]]
    return [[re.sub(r"<[^>]+>|\s+", " ", cell).strip().replace("&#39;", "'") for cell in row] for row in rows]


def test_the_first_page_lists_every_pair_every_patient_and_every_dropped_row(root):
    section = read_section(root, "index.html")
    across = ("radiography", "001", "covid", "–", TOGETHER, "near", "0.930")
    assert read_rows(section, "2 pairs of duplicates") == [
        ["covid_ct", "c/1", "covid", "test", KEPT, "covid_ct", "n/2", "non_covid", "train", GONE, "annotated", "0.970"],
        [*("ieee8023_xray", "x", "non_covid", "–", TOGETHER), *across],
    ]
    assert read_rows(section, "1 patient with images") == [
        ["ieee8023_xray", "318", "2", "1 covid, 1 non_covid", "y, z"]
    ]
    assert read_rows(section, "2 rows dropped") == [
        ["covid_ct", "n/2", "non_covid", "train", "annotated", "c/1", "covid", "test", "contradictory"],
        ["covid_ct", "n/3", "non_covid", "train", "patient", "n/4", "non_covid", "val", "–"],
    ]


def test_the_page_of_each_task_of_a_pair_shows_both_pictures(root):
    greys = {"covid_ct": [11, 22], "ieee8023_xray": [33, 66, 44, 55], "radiography": [33, 66]}
    for task, expected in greys.items():
        section = read_section(root, f"tasks/{task}.html")
        gallery = section.split('id="contradictory-labels"')[1].split("</figure>")[0]
        pictures = [root / "results/report" / path for path in re.findall(r'src="(?:\.\./)*([^"]+)"', gallery)]
        assert [int(np.asarray(Image.open(path)).max()) for path in pictures] == expected
    assert "covid: c/1, authors&#39; test fold (kept in the authors&#39; test fold)" in read_section(
        root, "tasks/covid_ct.html"
    )


def test_a_dataset_card_counts_what_was_found_about_it(root):
    cards = {card.split("</h3>")[0]: card for card in read_section(root, "index.html", "data").split("<h3>")[1:]}
    flags = [re.findall(r"⚑ (.*?):", card) for card in cards.values()]
    assert flags == [
        ["1 contradictory label", "2 rows dropped from the authors&#39; folds"],
        ["1 contradictory label", "1 patient with several labels"],
        ["1 contradictory label"],
    ]


def test_without_findings_a_card_has_no_flag_and_the_section_no_table(tmp_path):
    assert flag_labels({name: table[:0] for name, table in TABLES.items()}, ["covid_ct"]) == []
    build_report(tmp_path / "results", tmp_path / "data", PLAN, tmp_path / "results/report", "Nothing", {})
    assert "ontradict" not in read_section(tmp_path, "index.html")
    assert "ontradict" not in read_section(tmp_path, "tasks/covid_ct.html")


def test_a_gallery_draws_a_limited_number_of_pairs_and_of_pictures_and_does_without_thumbnails(root, tmp_path):
    many = pd.concat([TABLES["contradictions"][:1]] * (SHOWN + 3))
    audit = TABLES | {"contradictions": many, "mixed_patients": TABLES["mixed_patients"][:0]}
    assert len(draw_contradictions(root / "data", tmp_path, audit).rows) == SHOWN
    assert draw_contradictions(tmp_path, tmp_path, audit) is None
