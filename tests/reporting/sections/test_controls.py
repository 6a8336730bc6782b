"""The section on shortcut controls: its table, its pictures, and the flag below a network's score."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covbench.data.masks import pack_masks
from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.reporting.gather import Prepared
from covbench.reporting.sections.controls import MARK, build_control_section, draw_controls, list_flags
from covbench.schema import CLASSIFICATION, Task

TASK = Task("drawn", CLASSIFICATION, ("healthy", "sick"), positive="sick")


@pytest.fixture
def controls():
    """A network that needs no lungs, and one that has not been tested."""
    scores = {"full": 0.91, "full_low": 0.88, "full_high": 0.94, "altered": 0.9, "altered_low": 0.86}
    scores |= {"altered_high": 0.93, "change": -0.01, "change_low": -0.03, "change_high": 0.01, "kept": 0.976}
    tested = {"architecture": "small_cnn", "control": "lungs_out", "images": 1204, "flag": "yes", "reason": ""} | scores
    untested = {"architecture": "small_resnet", "control": "lungs_out", "flag": "", "reason": "seed 0 is missing"}
    shared = {"task": "drawn", "protocol": "audited", "metric": "auroc", "covers": "patients and training"}
    return pd.DataFrame([shared | tested, shared | untested], columns=list(COMPARE_TABLES["controls"]))


def test_the_flag_says_what_is_left_with_its_interval_and_the_number_of_images(controls):
    line = f"{MARK}: 0.900 (0.860–0.930) without them, 1,204 images"
    assert list_flags(controls) == {("small_cnn", "audited"): line}


def test_the_table_has_a_row_per_network_and_control_and_says_why_a_score_is_missing(controls):
    lungs = {"size": 224, "shipped": 0, "found": 1200, "none": 4, "dice": np.nan}
    section = build_control_section(controls, pd.DataFrame([lungs]))
    words = "Lungs at 224 pixels: 0 masks shipped with the dataset, 1,200 masks found by a classical segmentation, "
    words += "none in 4 images."
    assert section.readings == [words]
    first, second = section.table.rows
    assert [cell.text for cell in first[3:]] == ["0.910", "0.900", "−0.010", "98%", "1,204", MARK]
    assert second[4].kind == "undefined"
    assert any("small_resnet, audited: seed 0 is missing" in note for note in section.table.notes)


def test_without_a_classifier_there_is_no_table(controls):
    assert build_control_section(controls.head(0), pd.DataFrame()).table is None


def test_each_class_has_a_picture_of_every_control(tmp_path):
    images = np.random.default_rng(0).integers(100, 256, (3, 40, 40), dtype=np.uint8)
    lungs = np.zeros((3, 40, 40), bool)
    lungs[1:, 10:30, 8:32] = True  # none were found in the first
    np.save(tmp_path / "lungs.npy", pack_masks(lungs))
    rows = pd.DataFrame({"image_id": ["a", "b", "c"], "label": [0, 0, 1]})
    gallery = draw_controls(tmp_path / "report", TASK, Prepared(tmp_path, rows, images, None))
    assert [(heading, words, len(tiles)) for heading, words, tiles in gallery.rows] == [
        ("healthy", "b", 5),
        ("sick", "c", 5),
    ]
    found = {tile.text: np.asarray(Image.open(tmp_path / "report" / tile.source)) for tile in gallery.rows[0][2]}
    assert (found["unaltered"] == images[1]).all()
    assert (found["lungs_only"][lungs[1]] == images[1][lungs[1]]).all()
    assert len(np.unique(found["lungs_only"][~lungs[1]])) == 1
    assert draw_controls(tmp_path / "report", TASK, None) is None
