"""Metrics of outlines, volumes and lesions: means over slices and volumes, limits of agreement, and their reasons."""

import numpy as np
import pandas as pd
import pytest

from covbench.evaluation.comparison.bootstrap import score_draws
from covbench.evaluation.comparison.evidence import count_evidence, is_share
from covbench.evaluation.comparison.intervals import estimate_score
from covbench.evaluation.metrics.columns import SHAPE_COLUMNS
from covbench.evaluation.metrics.shapes import NAMES
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.schema import SEGMENTATION, Task

TASK = Task("infection", SEGMENTATION, ("background", "infection"), lesions=("infection",))
TRUE, PREDICTED = [10.0, 20, 30, 40], [12.0, 19, 36, 41]


def evaluate(columns=None, lesion=1):
    """Six slices of six patients in five groups; the first four are the first slices of whole volumes."""
    names = list("abcdef")
    rows = pd.DataFrame({"image_id": names, "copy": 0, "patient_id": names, "source": "", "fold": "test"})
    rows = rows.assign(group=["a", "a", *"cdef"], duplicate_set=names, truth=-1, seed=0)
    masks = np.full((6, 2, 2), lesion, np.uint8)
    native = pd.DataFrame({"both": 4, "true": 4 * lesion, "predicted": 4}, index=range(6))
    empty = dict.fromkeys(SHAPE_COLUMNS, np.full(6, np.nan))
    return evaluate_segmentation(rows, masks, masks, TASK, native=native.assign(**empty | (columns or {})))


VOLUMES = {
    "true_ml": np.array([*TRUE, np.nan, np.nan]),
    "predicted_ml": np.array([*PREDICTED, np.nan, np.nan]),
    "true_percent": np.array([1.0, 2, 3, np.nan, np.nan, np.nan]),
    "predicted_percent": np.array([2.0, 1, 5, np.nan, np.nan, np.nan]),
    "hd95_lesion_volume": np.array([1.0, 3, np.nan, 8, np.nan, np.nan]),
    "hd95_lesion": np.array([1.0, 2, np.nan, np.nan, 6, 7]),
}


def test_bias_error_and_limits_of_agreement_are_worked_out_by_hand():
    values = evaluate(VOLUMES)[0]["metrics"]
    differences = np.array([2.0, -1, 6, 1])  # mean 2, squared deviations 0, 9, 16, 1
    assert values["volume_bias_ml"] == 2
    assert values["volume_error_ml"] == 2.5
    spread = 1.96 * np.sqrt(26 / 3)
    assert spread == pytest.approx(1.96 * differences.std(ddof=1))
    assert values["volume_low_ml"] == pytest.approx(2 - spread)
    assert values["volume_high_ml"] == pytest.approx(2 + spread)
    assert values["lung_percent_bias"] == pytest.approx((1 - 1 + 2) / 3)
    assert values["lung_percent_error"] == pytest.approx(4 / 3)
    assert values["hd95_lesion_volume"] == 4
    assert values["hd95_lesion"] == 4


def test_bootstrap_draws_average_the_volumes_of_the_drawn_groups():
    metrics, cases = evaluate(VOLUMES)
    groups = pd.Index(list("acdef"))
    weights = np.array([[1, 2, 0], [1, 0, 1], [1, 0, 2], [1, 1, 0], [1, 2, 2]])
    drawn = score_draws(metrics, cases, groups, weights)
    assert drawn["", "volume_bias_ml"] == pytest.approx([2, (2 - 1) / 2, (6 + 2 * 1) / 3])
    assert drawn["", "hd95_lesion_volume"] == pytest.approx([4, 2, 8])
    assert drawn["", "volume_high_ml"][0] == pytest.approx(metrics["metrics"]["volume_high_ml"])


def test_a_metric_of_volumes_rests_on_the_groups_that_have_a_volume():
    metrics, cases = evaluate(VOLUMES)
    evidence = count_evidence(metrics, cases)
    found = {name: evidence["", name] for name in ("volume_bias_ml", "lung_percent_error", "hd95_lesion_volume")}
    assert found == {"volume_bias_ml": 3, "lung_percent_error": 2, "hd95_lesion_volume": 2}
    assert evidence["", "dice_lesion"] == 5


@pytest.mark.parametrize(
    ("columns", "lesion", "reasons"),
    [
        (None, 1, {"hd95_lesion": "states no spacing", "hd95_lesion_volume": "no whole volume with a lesion"}),
        ({"detection_f1_lesion_volume": np.ones(6)}, 1, {"hd95_lesion_volume": "states no spacing"}),
        (None, 0, {"hd95_lesion": "no pixel of it", "hd95_lesion_volume": "no pixel of it"}),
        (None, 1, {"volume_low_ml": "no whole volume of known spacing", "lung_percent_bias": "annotated lung"}),
    ],
)
def test_an_undefined_metric_is_null_with_the_reason(columns, lesion, reasons):
    metrics = evaluate(columns, lesion)[0]
    for name, reason in reasons.items():
        assert metrics["metrics"][name] is None
        assert reason in metrics["undefined"][name]


def test_a_single_volume_has_a_bias_but_no_limits():
    one = {name: np.where(np.arange(6) == 0, VOLUMES[name], np.nan) for name in ("true_ml", "predicted_ml")}
    metrics = evaluate(one)[0]
    assert metrics["metrics"]["volume_bias_ml"] == 2
    assert metrics["metrics"]["volume_high_ml"] is None


def test_the_interval_of_a_distance_may_pass_one_and_that_of_a_share_may_not():
    assert not is_share(SEGMENTATION, "assd_lesion")
    assert is_share(SEGMENTATION, "surface_dice_1mm_lesion")
    draws = np.random.default_rng(0).normal(0.9, 0.03, (1, 1000)).clip(0, 1)
    share, distance = (estimate_score(np.array([0.9]), draws, 6, share=known) for known in (True, False))
    assert share.high < 1
    assert distance.high - 0.9 == pytest.approx(0.9 - distance.low)


def test_masks_whose_grids_are_not_known_have_no_such_score():
    rows = pd.DataFrame({"image_id": ["a"], "copy": 0, "patient_id": ["p"], "source": "", "fold": "test"})
    rows = rows.assign(group=rows["patient_id"], duplicate_set=rows["image_id"])
    masks = np.ones((1, 2, 2), np.uint8)
    metrics = evaluate_segmentation(rows, masks, masks, TASK)[0]
    assert len(NAMES) == 16
    assert all(metrics["metrics"][name] is None for name in NAMES)
