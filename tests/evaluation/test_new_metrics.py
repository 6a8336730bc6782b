"""A metric that a contributor registers appears from metrics.json to the report without another edit."""

import numpy as np
import pandas as pd
import pytest

from covbench.evaluation.comparison.bootstrap import UNDRAWN
from covbench.evaluation.comparison.compare import compare_runs
from covbench.evaluation.definitions import define_metric, label_metric
from covbench.evaluation.metrics.registry import METRICS, register_metric
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.reporting.gather import read_results
from covbench.reporting.sections.leaderboard import build_leaderboards
from covbench.reporting.sections.scores import build_metric_table
from covbench.schema import CLASSIFICATION, SEGMENTATION, CovbenchError, Task
from covbench.system.files import write_table
from tests.synthetic_results import draw_tree, plan_runs

CLASSES, LESIONS = "sarscov2_ct", "zenodo_infection"
PLAN = plan_runs({CLASSES: ["vgg16", "majority"], LESIONS: ["unet_vgg19"]})


@pytest.fixture
def added(monkeypatch):
    """Three metrics, for this test alone."""
    for kind in (CLASSIFICATION, SEGMENTATION):
        monkeypatch.setitem(METRICS, kind, dict(METRICS[kind]))

    @register_metric(
        CLASSIFICATION, "Error", "Share of images whose most probable class is not the true one.", rate=True
    )
    def error_rate(fold):
        return fold.mean((fold.cases["truth"] != fold.cases["predicted"]).to_numpy(np.float64))

    @register_metric(CLASSIFICATION, "Doubt", "Median of 1 - confidence over test images.", drawn=False)
    def doubt(fold):
        return (1 - fold.cases["confidence"]).median()

    @register_metric(SEGMENTATION, "Area error", "Difference of lesion pixels per slice, mean over slices.")
    def area_error(fold):
        return fold.mean((fold.cases["true_lesion"] - fold.cases["predicted_lesion"]).abs().to_numpy(np.float64))


@pytest.fixture
def tables(added, tmp_path):
    """What compare makes of a results tree that was evaluated with the three metrics."""
    draw_tree(tmp_path, PLAN)
    reported = pd.DataFrame(columns=["task", "kind", "architecture", "backbone", "metric", "value", "source"])
    literature = pd.DataFrame(columns=["task", "protocol", "model", "metric", "value"])
    return compare_runs(PLAN, reported, literature, tmp_path)


def rows_of(table, metric):
    keys = [name for name in ("protocol", "architecture", "seed") if name in table]
    return table[table["metric"] == metric].set_index(keys).sort_index()


def test_a_metric_of_single_images_has_values_and_intervals_in_every_table(tables):
    # the error is 1 - accuracy, in each draw too
    for name, value in (("metrics", "value"), ("summary", "mean")):
        errors, accuracies = (rows_of(tables[name], metric) for metric in ("error_rate", "accuracy"))
        assert len(errors) == len(accuracies) > 0
        np.testing.assert_allclose(errors[value].astype(float), 1 - accuracies[value].astype(float))
        np.testing.assert_allclose(errors["low"].astype(float), 1 - accuracies["high"].astype(float), atol=1e-6)
        np.testing.assert_allclose(errors["high"].astype(float), 1 - accuracies["low"].astype(float), atol=1e-6)
    change = rows_of(tables["protocols"], "error_rate")["change"].astype(float)
    np.testing.assert_allclose(change, -rows_of(tables["protocols"], "accuracy")["change"].astype(float), atol=1e-12)


def test_a_metric_that_cannot_be_drawn_has_its_value_and_says_why_it_has_no_interval(tables):
    rows = rows_of(tables["metrics"], "doubt")
    assert rows["value"].between(0, 1).all()
    assert rows[["low", "high"]].isna().all(axis=None)
    assert set(rows["reason"]) == {UNDRAWN}
    summary = rows_of(tables["summary"], "doubt")
    expected = rows["value"].astype(float).groupby(["protocol", "architecture"]).mean()
    np.testing.assert_allclose(summary["mean"].astype(float), expected)
    assert summary[["low", "high"]].isna().all(axis=None)
    changes = rows_of(tables["protocols"], "doubt")
    assert changes["change"].notna().all()
    assert changes[["change_low", "change_high"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("task", "kind", "headline", "labels"),
    [
        (CLASSES, CLASSIFICATION, "auroc", {"Error", "Doubt"}),
        (LESIONS, SEGMENTATION, "dice_lesion", {"Area error"}),
    ],
)
def test_the_report_shows_it_as_a_column_and_as_a_leaderboard(tables, tmp_path, task, kind, headline, labels):
    for name, table in tables.items():
        write_table(tmp_path / "compare" / f"{name}.csv", table)
    part = read_results(tmp_path / "results", PLAN, tmp_path / "compare", tmp_path / "report").select(task)
    shown = build_metric_table(part.summary, part.metrics, part.runs, kind, headline)
    assert labels <= {heading for heading, _ in shown.columns}
    assert labels <= set(build_leaderboards(kind, part, {}).tables)


def test_its_definition_stands_beside_the_others(added):
    assert label_metric("doubt") == "Doubt"
    assert define_metric("area_error") == "Difference of lesion pixels per slice, mean over slices."


def test_a_segmentation_metric_is_worked_out_by_hand(added):
    task = Task("infection", SEGMENTATION, ("background", "infection"), lesions=("infection",))
    rows = pd.DataFrame({"image_id": ["a", "b"], "copy": 0, "patient_id": ["p", "q"], "source": "", "fold": "test"})
    rows = rows.assign(group=rows["patient_id"], duplicate_set=rows["image_id"])
    truth = np.array([[[1, 1, 1, 0]], [[0, 0, 0, 1]]], np.uint8)
    guess = np.array([[[1, 0, 0, 0]], [[0, 1, 1, 1]]], np.uint8)
    assert evaluate_segmentation(rows, truth, guess, task)[0]["metrics"]["area_error"] == 2  # 3 - 1, and 3 - 1


def test_an_undefined_metric_is_null_with_a_reason(added):
    @register_metric(SEGMENTATION, "Nothing", "Is never defined.")
    def nothing(fold):
        return fold.mean(np.full(len(fold.cases), np.nan))

    task = Task("infection", SEGMENTATION, ("background", "infection"), lesions=("infection",))
    rows = pd.DataFrame({"image_id": ["a"], "copy": 0, "patient_id": ["p"], "source": "", "fold": "test"})
    rows = rows.assign(group=rows["patient_id"], duplicate_set=rows["image_id"])
    masks = np.ones((1, 2, 2), np.uint8)
    metrics = evaluate_segmentation(rows, masks, masks, task)[0]
    assert metrics["metrics"]["nothing"] is None
    assert metrics["undefined"]["nothing"] == "undefined on this test fold"


def test_two_metrics_of_one_name_are_refused(added):
    with pytest.raises(CovbenchError, match="two classification metrics are called 'auroc'"):
        register_metric(CLASSIFICATION, "Another", "Another.", name="auroc")(lambda fold: 0.0)


def test_a_metric_that_rests_on_an_unknown_word_is_refused(added):
    with pytest.raises(CovbenchError, match="Odd: rests_on is 'lesions'; choose one of lesion, no lesion"):
        register_metric(SEGMENTATION, "Odd", "", "odd", rests_on="lesions")(lambda fold: 0.0)
    assert "odd" not in METRICS[SEGMENTATION]
