"""The audit section: counts, example pairs as pictures, duplicates across datasets, and shortcuts."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covbench.audit.duplicates import SIDE, Thumbnails
from covbench.audit.tables import AUDIT_TABLES
from covbench.audit.thumbnails import write_thumbnails
from covbench.reporting.page import build_report
from covbench.reporting.sections.audit import choose_examples
from covbench.system.files import write_table
from tests.synthetic_results import plan_runs

PLAN = plan_runs({"radiography": ["vgg16"]}, protocols=("published",), seeds=(0,))
PAIRS = pd.DataFrame(
    [
        ("radiography", "published", 0, "covid", "a", 0, "b", 0, "near", 0.93),
        ("radiography", "published", 0, "covid", "c", 0, "d", 0, "near", 0.88),
        ("radiography", "published", 0, "covid", "e", 0, "f", 0, "near", 0.86),
        ("radiography", "published", 0, "normal", "001", 0, "b", 0, "mirrored", 0.97),
        ("radiography", "published", 1, "covid", "g", 0, "b", 0, "exact", 1.0),
    ],
    columns=list(AUDIT_TABLES["pairs"]),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("an audit")
    audit = root / "results" / "audit"
    write_table(audit / "pairs.csv", PAIRS)
    across = ("ieee8023", "radiography", 191, 450, 0, 7, 0, 2, 8, 7)
    write_table(audit / "across.csv", pd.DataFrame([across], columns=list(AUDIT_TABLES["across"])))
    silent = ("radiography", "source", 450, 450, 1, None, None, None, None, None, None, "the dataset names no sources")
    spoken = ("radiography", "file", 450, 450, 9, 0.81, 1 / 3, 0.9, 0.86, 0.93, 0.5, "5 folds, groups kept apart")
    write_table(audit / "sources.csv", pd.DataFrame([silent, spoken], columns=list(AUDIT_TABLES["sources"])))
    ids = np.array([*"abcdefg", "001"])
    images = np.stack([np.full((SIDE, SIDE), 10 * number, np.uint8) for number in range(len(ids))])
    nothing = np.zeros((len(ids), 13, 32), np.uint8)
    thumbnails = Thumbnails(ids, images, nothing, np.full((len(ids), 2), SIDE))
    write_thumbnails(root / "data" / "thumbnails" / "radiography.npz", thumbnails)
    build_report(root / "results", root / "data", PLAN, root / "results" / "report", "An audit", {})
    return root


def test_example_pairs_are_the_most_and_the_least_similar_of_each_kind_in_the_lowest_seed():
    assert choose_examples(PAIRS)["image_id"].tolist() == ["001", "a", "e"]


def test_the_first_page_has_every_table_and_the_tasks_page_both_images_of_each_example_pair(root):
    page = (root / "results/report/index.html").read_text()
    section = page.split('<section id="audit"')[1].split("</section>")[0]
    assert "ieee8023" in section
    assert "names no sources" in section
    of_task = (root / "results/report/tasks/radiography.html").read_text()
    for words in ("test: 001", "train: b (mirrored, correlation 0.970)", "3 of 5 pairs", "names no sources"):
        assert words in of_task
    shown = {path.name: int(np.asarray(Image.open(path)).max()) for path in root.glob("results/report/figures/audit/*")}
    assert len(shown) == 6
    assert sorted(shown.values()) == [0, 10, 10, 40, 50, 70]  # a, b twice, e, f, 001


def test_without_an_audit_the_page_has_none(tmp_path):
    build_report(tmp_path / "results", tmp_path / "data", PLAN, tmp_path / "report", "Nothing yet", {})
    section = (tmp_path / "report/index.html").read_text().split('<section id="audit"')[1].split("</section>")[0]
    assert "<table" not in section
    assert "<img" not in section
