"""Agreement of readers, against scikit-learn and against counts by hand."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from covbench.evaluation.comparison.reader_agreement import compare_readers, measure_kappa
from covbench.experiment.plan import plan_run
from covbench.experiment.runs import RunRecord, RunState
from covbench.protocols import AUDITED, protocol_options
from covbench.reporting.sections.reader_agreement import build_agreement_table
from covbench.schema import CLASSIFICATION, SEGMENTATION, Run, Task
from covbench.system.files import write_table

READERS = ("small_cnn", "small_resnet")
"""Names that the plan knows; who bears them is told by the manifest."""
MASKS = ("unet_small", "unet_vgg19")
KINDS = {
    "radiography": (CLASSIFICATION, ("normal", "pneumonia", "covid")),
    "zenodo_infection": (SEGMENTATION, ("background", "infection")),
}
IMAGES = 40
CONFIG = {"weights": "none", "deterministic": True, "precision": "float32", "threads": 1}


def keep_run(root, task, name, answers="labels", predicted=None, masks=None, seed=0):
    """A scored run whose folder holds a reader's answers to IMAGES images of IMAGES / 2 patients."""
    kind, classes = KINDS[task]
    run = Run(task, AUDITED, name, seed)
    options = protocol_options(AUDITED, Task(task, kind, classes))
    record = RunRecord(
        plan_run(CONFIG, run, options),
        RunState.SCORED,
        root,
        manifest={"answers": answers},
        metrics={"kind": kind, "classes": classes},
    )
    rows = pd.DataFrame({"image_id": [f"i{n}" for n in range(IMAGES)], "copy": 0, "fold": "test"})
    cases = rows.drop(columns="fold").assign(group=[f"g{n // 2}" for n in range(IMAGES)])
    if predicted is not None:
        cases["predicted"] = predicted
    write_table(record.folder / "cases.parquet", cases)
    write_table(record.folder / "predictions.parquet", rows)
    if masks is not None:
        np.savez(record.folder / "predicted_masks.npz", masks=masks)
    return record


@pytest.fixture
def named():
    """The classes that two readers name."""
    rng = np.random.default_rng(3)
    one = rng.integers(0, 3, IMAGES)
    return one, np.where(rng.random(IMAGES) < 0.7, one, rng.integers(0, 3, IMAGES))


def test_kappa_is_that_of_scikit_learn_and_its_interval_holds_it(tmp_path, named):
    runs = [
        keep_run(tmp_path, "radiography", name, predicted=found) for name, found in zip(READERS, named, strict=True)
    ]
    (row,) = compare_readers(runs)
    assert (row["one"], row["other"], row["measure"], row["images"], row["groups"]) == (*READERS, "kappa", 40, 20)
    assert row["value"] == pytest.approx(cohen_kappa_score(*named))
    assert row["low"] < row["value"] < row["high"] <= 1


def test_a_draw_counts_an_image_as_often_as_its_group_was_drawn(named):
    groups = np.arange(IMAGES) // 2
    weights = np.random.default_rng(0).integers(0, 4, (20, 3))
    drawn = measure_kappa(*named, groups, 3)(weights)
    repeated = [np.repeat(np.arange(IMAGES), column[groups]) for column in weights.T]
    assert drawn == pytest.approx([cohen_kappa_score(named[0][rows], named[1][rows]) for rows in repeated])


def test_dice_is_the_mean_over_images_where_one_of_the_readers_marks_a_lesion(tmp_path):
    masks = np.zeros((2, IMAGES, 4, 4), np.uint8)
    masks[:, 0, 0, :2] = 1  # the same two pixels: 1
    masks[0, 1, 0, 0] = 1  # one marks nothing: 0
    masks[0, 2, 0, :3], masks[1, 2, 0, 2] = 1, 1  # 2 * 1 / 4
    runs = [keep_run(tmp_path, "zenodo_infection", name, masks=found) for name, found in zip(MASKS, masks, strict=True)]
    (row,) = compare_readers(runs)
    assert (row["measure"], row["images"], row["groups"]) == ("dice", 3, 2)
    assert row["value"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert "no interval" in row["reason"]  # two patients


def test_only_those_who_name_a_class_are_readers_and_only_of_the_same_fold(tmp_path, named):
    one, other = named
    runs = [keep_run(tmp_path, "radiography", READERS[0], predicted=one)]
    runs.append(keep_run(tmp_path, "radiography", READERS[1], "", other))
    runs.append(keep_run(tmp_path, "radiography", READERS[1], predicted=other, seed=1))
    assert list(compare_readers(runs)) == []
    assert build_agreement_table(pd.DataFrame(compare_readers(runs))) is None


def test_what_is_undefined_says_why_and_stands_in_the_table(tmp_path):
    same = np.ones(IMAGES, np.int64)
    runs = [keep_run(tmp_path, "radiography", name, predicted=same) for name in READERS]
    (row,) = compare_readers(runs)
    assert (row["value"], row["reason"]) == (None, "undefined: both name one and the same class")
    table = build_agreement_table(pd.DataFrame([row]))
    assert table.rows[0][0].text == "small_cnn and small_resnet"
    assert table.rows[0][4].note == row["reason"]
