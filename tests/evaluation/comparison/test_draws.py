import tracemalloc

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison import bootstrap, draws
from covbench.evaluation.comparison.bootstrap import list_groups, prepare_scorer, score_draws, score_runs
from covbench.evaluation.comparison.draws import draw_blocks, draw_groups, fit_counts
from covbench.evaluation.comparison.ranked_draws import RANKS, rank_images, score_ranks
from covbench.schema import CLASSIFICATION, Task

BINARY = Task("binary", CLASSIFICATION, ("non_covid", "covid"), positive="covid")


@pytest.fixture
def few_draws(monkeypatch):
    """Sixty draws, of which twenty share a seed, counted at most a hundred groups x draws at a time."""
    monkeypatch.setattr(draws, "DRAWS", 60)
    monkeypatch.setattr(bootstrap, "DRAWS", 60)
    monkeypatch.setattr(draws, "BLOCK", 20)
    monkeypatch.setattr(draws, "CELLS", 100)


def score_patients(number, seed=0):
    rng = np.random.default_rng(seed)
    names = [f"p{k:05d}" for k in range(number)]
    rows = pd.DataFrame({"image_id": names, "copy": 0, "patient_id": names, "group": names, "source": ""})
    rows = rows.assign(duplicate_set=names, fold="test", truth=rng.integers(0, 2, number), seed=0)
    p = (rng.random(number) + rows["truth"]) / 2
    return evaluate_classification(rows.assign(p_0=1 - p, p_1=p), BINARY)


def test_a_draw_counts_what_numpy_draws_in_one_go():
    chosen = np.random.default_rng(3).integers(0, 7, (50, 7))
    expected = np.array([np.bincount(row, minlength=7) for row in chosen]).T
    assert np.array_equal(draw_groups(7, 50, seed=3), expected)


def test_blocks_hold_the_same_draws_whatever_their_size(few_draws):
    blocks = list(draw_blocks(11, first_seed=1))
    assert max(block.size for block in blocks) <= 100
    expected = [draw_groups(11, 20, seed=1 + start) for start in (0, 20, 40)]
    assert np.array_equal(np.concatenate(blocks, axis=1), np.concatenate(expected, axis=1))


def test_runs_scored_block_by_block_have_the_scores_of_each_draw(few_draws):
    runs = [score_patients(30, seed) for seed in (0, 1)]
    groups = list_groups(cases for _, cases in runs)
    weights = np.concatenate(list(draw_blocks(30)), axis=1)
    for run, found in zip(runs, score_runs(runs, groups), strict=True):
        expected = score_draws(*run, groups, weights)
        assert set(found) == set(expected)
        for key, values in expected.items():
            assert np.array_equal(found[key], values.astype(np.float32), equal_nan=True), key


def test_the_memory_of_the_draws_does_not_grow_with_the_patients(monkeypatch):
    monkeypatch.setattr(draws, "DRAWS", 2000)
    monkeypatch.setattr(bootstrap, "DRAWS", 2000)
    monkeypatch.setattr(draws, "CELLS", 2**17)
    peaks = []
    for patients in (300, 3000):
        runs = [score_patients(patients)]
        groups = list_groups(cases for _, cases in runs)
        tracemalloc.start()
        score_runs(runs, groups)
        peaks.append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2  # MiB; the draws of 3,000 patients alone would be 11


def test_ranks_in_several_pieces_equal_scikit_learns_in_every_draw():
    rng = np.random.default_rng(4)
    number = 5 * RANKS
    truth, scores, groups = rng.random(number) < 0.7, rng.random(number), rng.integers(0, 150, number)
    scores[::3] = scores[::3].round(2)  # some ties
    weights = draw_groups(150, 4)
    auroc, precision = score_ranks(rank_images(truth, scores, groups, 150), weights)
    for draw in range(4):
        times = weights[groups, draw]
        assert auroc[draw] == pytest.approx(sk.roc_auc_score(truth, scores, sample_weight=times), abs=1e-7)
        expected = sk.average_precision_score(truth, scores, sample_weight=times)
        assert precision[draw] == pytest.approx(expected, abs=1e-7)


def test_a_model_without_an_error_scores_exactly_one_in_every_draw():
    truth = np.arange(100) % 3 == 0
    auroc, precision = score_ranks(rank_images(truth, truth + 0.0, np.arange(100), 100), draw_groups(100, 50))
    assert (auroc == 1).all()
    assert (precision == 1).all()


def test_a_draw_of_more_images_than_16_bits_count_is_counted_in_32():
    sizes = np.array([40_000, 1, 1])
    assert fit_counts(np.array([[1], [1], [1]], np.uint16), sizes).dtype == np.uint16
    assert fit_counts(np.array([[2], [1], [0]], np.uint16), sizes).dtype == np.uint32


def test_a_group_of_very_many_images_is_not_counted_short():
    number = 70_000
    rng = np.random.default_rng(0)
    truth = np.arange(number) % 2
    cases = pd.DataFrame({"group": np.where(np.arange(number) < 20, "small", "large"), "truth": truth})
    cases = cases.assign(p_1=(truth + rng.integers(0, 3, number)) / 4, predicted=rng.integers(0, 2, number))
    metrics = {"kind": CLASSIFICATION, "classes": list(BINARY.classes), "positive": "covid"}
    score = prepare_scorer(metrics, cases.assign(p_0=1 - cases["p_1"]), pd.Index(["large", "small"]))
    drawn = score(np.ones((2, 1), np.uint16))
    assert drawn["", "accuracy"] == pytest.approx((cases["predicted"] == truth).mean())
    assert drawn["", "auroc"] == pytest.approx(sk.roc_auc_score(truth, cases["p_1"]), abs=1e-6)
