"""The section on where networks look: its sentences, its table and its pictures."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covbench.data.masks import pack_masks
from covbench.evaluation.comparison.focus import NO_MASK
from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.experiment.runs import RunRecord, RunState
from covbench.experiment.workflow_files import controls_folder
from covbench.reporting.figures.overlays import CLASS_COLOURS
from covbench.reporting.gather import Prepared
from covbench.reporting.sections.focus import build_focus_section, draw_focus
from tests.synthetic_results import plan_runs

PLAN = plan_runs({"phantom_xray": ["vgg16", "vgg19"]}, protocols=("audited",), seeds=(0,))


@pytest.fixture
def focus():
    """A network that looks at the lungs, one that looks elsewhere, and no masks of lesions."""
    shared = {"task": "drawn", "protocol": "audited", "region": "lungs", "chance": 0.4, "area": 0.3, "reason": ""}
    shared |= {"covers": "patients and training", "images": 1204, "energy": 0.5, "energy_low": 0.4, "energy_high": 0.6}
    good = {"architecture": "small_cnn", "hits": 0.9, "hits_low": 0.85, "hits_high": 0.94}
    good |= {"gain": 0.5, "gain_low": 0.45, "gain_high": 0.55}
    bad = {"architecture": "small_resnet", "hits": 0.1, "hits_low": 0.05, "hits_high": 0.15, "energy": 0.1}
    bad |= {"gain": -0.3, "gain_low": -0.35, "gain_high": -0.25}
    none = {"architecture": "small_cnn", "region": "lesions", "reason": NO_MASK}
    unknown = dict.fromkeys(("hits", "energy", "gain", "chance", "area"), np.nan)
    rows = [shared | good, shared | bad, {"task": "drawn", "protocol": "audited", "covers": ""} | unknown | none]
    return pd.DataFrame(rows, columns=list(COMPARE_TABLES["focus"]))


def test_the_sentence_counts_networks_that_are_better_and_worse_than_chance(focus):
    (sentence,) = build_focus_section(focus).readings
    expected = (
        "the maps of 1 of 2 networks hit the lungs more often than a random point does (40%), those of 1 more rarely."
    )
    assert expected in sentence


def test_the_table_has_the_worst_agreement_first_and_says_why_a_score_is_missing(focus):
    table = build_focus_section(focus).table
    names = [row[0].text for row in table.rows if row[2].text == "lungs"]
    assert names == ["small_resnet", "small_cnn"]
    assert [cell.text for cell in table.rows[-1][3:]] == ["0.900", "0.400", "+0.500", "0.500", "0.300", "1,204"]
    assert any(NO_MASK in note for note in table.notes)


def test_before_anything_is_explained_there_is_no_table(focus):
    assert build_focus_section(focus.tail(1)).table is None


def test_pictures_show_the_map_and_the_outlines_on_the_image_and_the_worst_network_first(tmp_path):
    images = np.full((2, 40, 40), 100, np.uint8)
    lungs, lesion = np.zeros((2, 40, 40), bool), np.zeros((1, 40, 40), bool)
    lungs[:, 10:30, 8:32] = lesion[:, 15:20, 15:20] = True
    np.save(tmp_path / "lungs.npy", pack_masks(lungs))
    np.savez(tmp_path / "lesions.npz", rows=[1], masks=pack_masks(lesion))
    prepared = Prepared(tmp_path, pd.DataFrame({"image_id": ["a", "b"]}), images, None)
    records = [RunRecord(planned, RunState.SCORED, tmp_path) for planned in PLAN]
    for record, energy in zip(records, (0.6, 0.2), strict=True):
        folder = tmp_path / controls_folder(record.task, record.protocol, record.architecture)
        folder.mkdir(parents=True)
        warm = np.zeros((1, 56, 56), np.uint8)
        warm[:, :10, :10] = 255
        maps = {"lungs/image_id": np.array(["b"]), "lungs/energy": np.array([energy]), "lungs/map": warm}
        np.savez(folder / "maps.npz", **maps)
    (gallery,) = draw_focus(tmp_path / "report", records, prepared)
    assert [(name, tiles[0].text) for name, _, tiles in gallery.rows] == [("vgg19", "b: 20%"), ("vgg16", "b: 60%")]
    picture = np.asarray(Image.open(tmp_path / "report" / gallery.rows[0][2][0].source))
    assert tuple(picture[10, 20]) == CLASS_COLOURS[0]
    assert tuple(picture[15, 17]) == CLASS_COLOURS[1]
    assert tuple(picture[35, 35]) == (100, 100, 100)
    assert picture[2, 2].max() > 150  # warm


def test_without_prepared_images_there_are_no_pictures(tmp_path):
    assert draw_focus(tmp_path, [], None) == []
