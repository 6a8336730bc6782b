import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as sk

from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.bootstrap import (
    band_curves,
    expand_tail,
    find_interval,
    score_draws,
    trace_draw,
)
from covbench.evaluation.comparison.draws import draw_groups
from covbench.evaluation.comparison.ranked_draws import rank_images, rank_scores, score_ranks
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.schema import CLASSIFICATION, SEGMENTATION, Task

BINARY = Task("binary", CLASSIFICATION, ("non_covid", "covid"), positive="covid")
THREE = Task("three", CLASSIFICATION, ("normal", "viral", "covid"))
FOUR = Task("four", SEGMENTATION, ("background", "glass", "solid", "lungs"), lesions=("glass", "solid"))


def drawn_rows(rng, number, patients):
    table = pd.DataFrame({"image_id": [f"image{i}" for i in range(number)], "copy": 0, "source": "", "fold": "test"})
    names = [f"p{k}" for k in rng.integers(0, patients, number)]
    return table.assign(patient_id=names, group=names, duplicate_set=table["image_id"], truth=-1, seed=1)


def drawn_classification(task, seed=0, number=60, patients=17):
    rng = np.random.default_rng(seed)
    rows = drawn_rows(rng, number, patients)
    rows["truth"] = rng.integers(0, len(task.classes), number)
    odds = rng.random((number, len(task.classes))).round(1) + 0.1  # rounded: many ties
    odds[np.arange(number), rows["truth"]] += 0.3
    odds /= odds.sum(1, keepdims=True)
    names = range(len(task.classes))
    table = rows.assign(**{f"p_{c}": odds[:, c] for c in names})
    return table if task.positive else table.assign(**{f"logit_{c}": 3 * odds[:, c] for c in names})


def drawn_segmentation(seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, (20, 5, 6)).astype(np.uint8)
    guess = np.where(rng.random(truth.shape) < 0.5, truth, rng.integers(0, 4, truth.shape)).astype(np.uint8)
    truth[:4][truth[:4] == 2] = 0
    guess[:4][guess[:4] == 2] = 0
    return drawn_rows(rng, 20, 6), truth, guess


def named_scores(metrics):
    found = {("", name): value for name, value in metrics["metrics"].items()}
    for name, row in metrics["per_class"].items():
        found |= {(name, score): value for score, value in row.items()}
    shown = {key: value for key, value in found.items() if key[1] not in ("support", "images_with_class")}
    return {key: np.nan if value is None else value for key, value in shown.items()}


def evaluated(task):
    if task.kind == SEGMENTATION:
        return evaluate_segmentation(*drawn_segmentation(), task)
    return evaluate_classification(drawn_classification(task), task)


@pytest.mark.parametrize("task", [BINARY, THREE, FOUR], ids=lambda task: task.name)
def test_drawing_everyone_once_gives_the_reported_scores(task):
    metrics, cases = evaluated(task)
    patients = pd.Index(sorted(cases["patient_id"].unique()))
    draws = score_draws(metrics, cases, patients, np.ones((len(patients), 2)))
    expected = named_scores(metrics)
    assert set(draws) == set(expected)
    for key, value in expected.items():
        assert draws[key] == pytest.approx([value, value], abs=1e-6, nan_ok=True), key


@pytest.mark.parametrize("task", [BINARY, THREE, FOUR], ids=lambda task: task.name)
def test_a_draw_scores_as_if_its_patients_had_been_copied(task):
    metrics, cases = evaluated(task)
    patients = pd.Index(sorted(cases["patient_id"].unique()))
    weights = draw_groups(len(patients), 3, seed=1)
    draws = score_draws(metrics, cases, patients, weights)
    for number in range(3):
        times = weights[patients.get_indexer(pd.Index(cases["patient_id"])), number].astype(int)
        chosen = np.repeat(np.arange(len(cases)), times)
        if task.kind == SEGMENTATION:
            rows, truth, guess = drawn_segmentation()
            turn = np.concatenate([np.arange(k) for k in times]).astype(int)
            copied = rows.iloc[chosen].assign(patient_id=rows["patient_id"].iloc[chosen] + [f"-{k}" for k in turn])
            again, _ = evaluate_segmentation(copied, truth[chosen], guess[chosen], task)
        else:
            again, _ = evaluate_classification(drawn_classification(task).iloc[chosen], task)
        for key, value in named_scores(again).items():
            if key[1].endswith("_study_batches"):
                continue  # the copies would make new batches; tests/evaluation/test_study_masks.py
            assert draws[key][number] == pytest.approx(value, abs=1e-6, nan_ok=True), key


def test_weighted_auroc_and_average_precision_equal_scikit_learns_in_every_draw():
    rng = np.random.default_rng(2)
    truth, scores, places = rng.random(200) < 0.4, rng.random(200).round(1), rng.integers(0, 30, 200)
    weights = draw_groups(30, 5)
    auroc, precision = score_ranks(rank_images(truth, scores, places, 30), weights)
    for number in range(5):
        times = weights[places, number]
        kept = times > 0
        expected = sk.roc_auc_score(truth[kept], scores[kept], sample_weight=times[kept])
        assert auroc[number] == pytest.approx(expected, abs=1e-7)
        expected = sk.average_precision_score(truth[kept], scores[kept], sample_weight=times[kept])
        assert precision[number] == pytest.approx(expected, abs=1e-7)


def test_the_curves_of_a_draw_are_scikit_learns():
    rng = np.random.default_rng(5)
    truth, scores = rng.random(200) < 0.4, rng.random(200).round(1)
    times = draw_groups(200, 1)[:, 0]
    grid = np.linspace(0, 1, 21)
    found, precise = trace_draw(truth, rank_scores(scores), times, grid)
    wrong, right, _ = sk.roc_curve(truth, scores, sample_weight=times, drop_intermediate=False)
    assert found == pytest.approx(np.interp(grid, wrong, right))
    precision, recall, _ = sk.precision_recall_curve(truth, scores, sample_weight=times)
    for share, value in zip(grid, precise, strict=True):
        kept = (recall >= share - 1e-12) & (recall > 0)
        assert value == pytest.approx(precision[kept][-1])  # of the highest threshold that reaches this recall


def test_the_band_of_a_curve_holds_it_and_narrows_with_patients():
    widths = []
    for number in (30, 300):
        rng = np.random.default_rng(6)
        truth = np.arange(number) % 2 == 0
        scores = truth + rng.normal(0, 1, number)
        band = band_curves(truth, scores, np.arange(number), draw_groups(number, 400))
        roc = band[band["curve"] == "roc"]
        curve, _ = trace_draw(truth, rank_scores(scores), np.ones(number), roc["x"].to_numpy())
        assert ((roc["low"] <= curve + 1e-9) & (curve <= roc["high"] + 1e-9)).mean() > 0.95
        widths.append((roc["high"] - roc["low"]).mean())
    assert widths[1] < widths[0] / 2


def test_a_class_that_no_image_has_leaves_no_band():
    assert band_curves(np.zeros(9, bool), np.arange(9.0), np.arange(9), draw_groups(9, 50)).empty


def test_every_draw_takes_as_many_patients_as_there_are():
    weights = draw_groups(40, 300)
    assert (weights.sum(axis=0) == 40).all()
    assert weights.var() == pytest.approx(1, abs=0.1)  # multinomial: 1 - 1/40
    assert not np.array_equal(weights, draw_groups(40, 300, seed=1))


def test_the_interval_of_an_accuracy_equals_scipys_bootstrap():
    correct = np.arange(80) % 4 > 0
    rows = pd.DataFrame({"group": [f"p{i:02d}" for i in range(80)], "truth": 1, "predicted": correct.astype(int)})
    rows = rows.assign(p_0=0.5, p_1=0.5)
    metrics = {"kind": CLASSIFICATION, "classes": ["non_covid", "covid"], "positive": "covid"}
    draws = score_draws(metrics, rows, pd.Index(rows["group"]), draw_groups(80, 10_000))
    low, high, reason = find_interval(draws["", "accuracy"], 80)
    expected = stats.bootstrap((correct,), np.mean, n_resamples=10_000, method="percentile", rng=1).confidence_interval
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.0126)  # one image of 80
    assert reason == ""


def test_images_of_one_patient_widen_the_interval():
    rng = np.random.default_rng(0)
    correct = np.repeat(rng.random(20) < 0.7, 10)
    rows = pd.DataFrame({"truth": 1, "predicted": correct.astype(int), "p_0": 0.5, "p_1": 0.5})
    metrics = {"kind": CLASSIFICATION, "classes": ["non_covid", "covid"], "positive": "covid"}
    widths = []
    for patients in (np.repeat(np.arange(20), 10), np.arange(200)):
        rows["group"] = [f"p{k:03d}" for k in patients]
        names = pd.Index(rows["group"].unique())
        draws = score_draws(metrics, rows, names, draw_groups(len(names)))
        low, high, _ = find_interval(draws["", "accuracy"], len(names))
        widths.append(high - low)
    assert widths[0] > 2 * widths[1]


def test_a_score_undefined_in_many_draws_has_no_interval_and_says_so():
    low, high, reason = find_interval(np.array([0.5] * 80 + [np.nan] * 20), 9)
    assert low is high is None
    assert reason == "no interval: undefined in 20% of the draws"
    assert find_interval(np.array([0.5] * 95 + [np.nan] * 5), 9) == (0.5, 0.5, "")


def test_a_single_patient_has_no_interval():
    assert find_interval(np.full(100, 0.5), 1) == (None, None, "no interval: a single group of images")


def test_few_patients_leave_less_in_the_tails_and_many_the_usual_share():
    assert expand_tail(30) == pytest.approx(stats.norm.sf(2.0452 * (30 / 29) ** 0.5), abs=1e-5)
    assert expand_tail(10_000) == pytest.approx(0.025, abs=1e-4)
