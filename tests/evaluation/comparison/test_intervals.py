from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from covbench.evaluation.comparison.bootstrap import score_draws
from covbench.evaluation.comparison.draws import draw_groups
from covbench.evaluation.comparison.intervals import (
    BOTH,
    PATIENTS,
    SIGNIFICANT,
    Error,
    Estimate,
    estimate_difference,
    estimate_score,
    explain_scope,
)
from covbench.evaluation.comparison.ranked_draws import rank_images, score_ranks
from covbench.schema import CLASSIFICATION
from tests.evaluation.comparison.simulated_patients import measure_coverage
from tests.evaluation.comparison.simulated_quantiles import (
    DIFFERENCES,
    SCORES,
    measure_misses,
    measure_reaches,
    measure_wrong_tables,
)
from tests.evaluation.comparison.simulated_studies import (
    DESIGNS,
    NOISES,
    Cell,
    draw_aurocs,
    measure_shares,
    tabulate_shares,
)

STUDIES = 400  # in each simulation; docs/explanation/statistics.md has 1,000
HALF_OF_THE_CELLS = [
    (design, (200, 1500)[number % 2], noise) for number, (design, noise) in enumerate(product(DESIGNS, NOISES))
]
"""Every design with every noise. docs/explanation/statistics.md has all numbers of patients."""
METRICS = {"kind": CLASSIFICATION, "classes": ["non_covid", "covid"], "positive": "covid"}


def estimate_accuracy(correct, groups, **options):
    rows = pd.DataFrame({"truth": 1, "predicted": np.asarray(correct, int), "p_0": 0.5, "p_1": 0.5, "group": groups})
    names = pd.Index(rows["group"].unique())
    draws = score_draws(METRICS, rows, names, draw_groups(len(names)))["", "accuracy"]
    return estimate_score(np.array([np.mean(correct)]), draws[None], len(names), **options)


def draw_scores(rng, values, error=0.02, shared=0.0, draws=4000):
    """Bootstrap draws around scores, with an error of each seed and one that all share."""
    noise = rng.normal(0, error, (len(values), draws)) + rng.normal(0, shared, draws)
    return np.asarray(values)[:, None] + noise


def test_the_interval_of_an_accuracy_is_close_to_scipys_bootstrap():
    correct = np.arange(80) % 4 > 0
    found = estimate_accuracy(correct, [f"p{i}" for i in range(80)])
    expected = stats.bootstrap((correct,), np.mean, n_resamples=10_000, method="BCa", rng=1).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.0126)  # one image of 80
    assert found.se == pytest.approx(np.sqrt(0.75 * 0.25 / 79), rel=0.03)


def test_images_of_one_group_widen_the_interval():
    correct = np.repeat(np.random.default_rng(0).random(20) < 0.7, 10)
    grouped = estimate_accuracy(correct, [f"p{k}" for k in np.repeat(np.arange(20), 10)])
    alone = estimate_accuracy(correct, [f"p{k}" for k in range(200)])
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_nine_of_nine_groups_without_an_error_have_the_exact_interval():
    found = estimate_accuracy(np.ones(18, bool), np.repeat([f"p{k}" for k in range(9)], 2), rate=True)
    assert (found.low, found.high) == pytest.approx((0.664, 1), abs=0.0005)
    assert found.low == pytest.approx(stats.binomtest(9, 9).proportion_ci().low)
    assert "exact" in found.reason
    wrong = estimate_accuracy(np.zeros(9, bool), [f"p{k}" for k in range(9)], rate=True)
    assert (wrong.low, wrong.high) == pytest.approx((0, 0.336), abs=0.0005)


def test_a_score_that_no_draw_changes_has_no_interval_and_says_so():
    for found in (
        estimate_score(np.array([1.0]), np.ones((1, 500)), 40),
        estimate_difference(np.zeros(3), np.zeros((3, 500)), 40),
    ):
        assert np.isnan([found.low, found.high, found.se, found.p]).all()
        assert found.reason == "no interval: the same in all draws"


def test_a_score_undefined_in_many_draws_has_no_interval_and_says_so():
    draws = np.linspace(0.4, 0.6, 100)[None]
    draws[0, :20] = np.nan
    assert estimate_score(np.array([0.5]), draws, 9).reason == "no interval: undefined in 20% of the draws"


@pytest.mark.parametrize(("groups", "given"), [(5, False), (6, True)])
def test_fewer_than_six_groups_have_no_interval(groups, given):
    draws = np.random.default_rng(0).normal(0.5, 0.1, (1, 500))
    found = estimate_score(np.array([0.5]), draws, groups)
    assert np.isnan(found.low) != given
    assert found.reason == ("" if given else "no interval: 5 groups of images, at least 6 are needed")


def test_the_interval_of_a_score_stays_between_0_and_1_and_reaches_further_towards_the_middle():
    draws = np.random.default_rng(0).beta(95, 5, (1, 4000))
    found = estimate_score(np.array([0.95]), draws, 60)
    assert 0 < found.low < 0.95 < found.high < 1
    assert 0.95 - found.low > found.high - 0.95


def test_three_seeds_cover_training_and_two_only_patients_with_the_reason():
    rng = np.random.default_rng(0)
    three, two = ([0.80, 0.86, 0.83], [0.80, 0.86])
    found = [estimate_score(np.array(values), draw_scores(rng, values), 100) for values in (three, two)]
    assert [each.covers for each in found] == [BOTH, PATIENTS]
    assert np.isnan(found[1].training_sd)
    assert "2 seeds are too few to measure the noise of training" in explain_scope(found[1], 2)
    assert explain_scope(found[0], 3) == ""


def test_what_patients_explain_of_the_spread_over_seeds_is_no_noise_of_training():
    rng = np.random.default_rng(1)
    measured = []
    for training in (0.0, 0.05):
        squares = []
        for _ in range(300):
            values = 0.8 + rng.normal(0, np.hypot(training, 0.03), 5)
            squares.append(estimate_score(values, draw_scores(rng, values, 0.03, draws=200), 1000).training_sd ** 2)
        measured.append(np.mean(squares))
    assert measured[1] == pytest.approx(0.05**2, rel=0.2)
    assert measured[0] < 0.25 * measured[1]  # cut off at 0, so not 0 on average


def test_without_noise_of_training_the_quantile_is_that_of_groups_and_with_nothing_else_that_of_seeds():
    assert Error(1.0, 30).reach(SIGNIFICANT) == pytest.approx(stats.t.ppf(0.975, 29))
    assert Error(1.0, 30, 0.0, 0.0, 3).reach(SIGNIFICANT) == pytest.approx(stats.t.ppf(0.975, 29))
    assert Error(0.0, 1000, 1.0, 1.0, 3).reach(SIGNIFICANT) == pytest.approx(stats.t.ppf(0.975, 2))
    assert Error(0.0, 1000, 1.0, 1.0, 3).df == pytest.approx(2)


def test_p_is_below_5_percent_exactly_where_the_interval_excludes_0():
    rng = np.random.default_rng(2)
    decided = 0
    for _ in range(300):
        seeds = int(rng.integers(1, 6))
        values = rng.normal(rng.choice([0, 0.03, 0.06]), 0.02, seeds)
        found = estimate_difference(values, draw_scores(rng, values, 0.01, 0.01, 200), int(rng.integers(6, 80)))
        excludes = found.low > 0 or found.high < 0
        assert (found.p < SIGNIFICANT) == excludes
        decided += excludes
    assert 50 < decided < 250


def test_the_standard_error_of_a_mean_over_seeds_adds_patients_and_training():
    values = np.array([0.70, 0.80, 0.90])
    found = estimate_difference(values, draw_scores(np.random.default_rng(0), values, 0.0, 0.05), 10_000)
    assert found.training_sd == pytest.approx(0.1, rel=0.01)  # the seeds share their patients, who explain nothing
    assert found.se == pytest.approx(np.sqrt(0.05**2 + 0.1**2 / 3), rel=0.03)
    assert found.run_se == pytest.approx(0.05, rel=0.05)


def test_an_estimate_without_error_has_no_p_value():
    assert np.isnan(Estimate(0.3, 4).p)


@pytest.mark.parametrize("patients", [6, 10])
def test_intervals_of_few_patients_hold_the_truth_in_about_95_of_100_studies(patients):
    held, given = measure_coverage(patients, 100)
    assert (held >= 0.87).all(), held  # 100 studies: three standard errors are 0.065
    assert (given[[0, 2, 3]] == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("patients", [6, 8, 10, 60])
def test_intervals_hold_the_truth_in_93_to_97_of_100_studies_of_clustered_patients(patients):
    held, given = measure_coverage(patients, STUDIES)
    errors = np.sqrt(0.05 * 0.95 / (STUDIES * given))  # of the studies that have an interval: few for AUROC
    assert ((held >= 0.93 - 2 * errors) & (held <= 0.97 + 2 * errors)).all(), held


@pytest.mark.parametrize("design", DESIGNS)
def test_equal_architectures_are_rarely_called_different(design):
    called, ignoring, covered = measure_shares(Cell(design, 200, 0.05), 100)
    assert called <= 0.06 + 0.05  # 100 studies: two standard errors of 6 % are 4.8 %
    assert ignoring > 2 * called
    assert covered >= 0.87


@pytest.mark.slow
@pytest.mark.parametrize(("design", "patients", "noise"), HALF_OF_THE_CELLS)
def test_equal_architectures_are_called_different_in_at_most_6_of_100_studies(design, patients, noise):
    called, _, covered = measure_shares(Cell(design, patients, noise), STUDIES)
    assert called <= 0.06 + 0.024  # two standard errors of 400 studies
    assert covered >= 0.93 - 0.024


@pytest.mark.parametrize(("rule", "strict"), [(SCORES, False), (DIFFERENCES, True)])
def test_the_simulated_rules_are_those_of_the_code(rule, strict):
    between = np.array([0.2, 0.9, 1.7, 40.0])
    for p in (0.05, 0.001):
        for variance, reach in zip(between, measure_reaches(between, 2.0, 3, p)[rule], strict=True):
            error = Error(2.0 / 3, 10**9, max(variance - 1, 0) / 3, variance / 3, 3, strict)
            assert error.reach(p) * 3**0.5 == pytest.approx(reach, rel=1e-5)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("ratio", [1, 2, 50])
def test_in_normal_studies_tests_err_in_at_most_5_of_100_and_scores_in_at_most_7(ratio, seeds):
    for noise in (1, 4, 10, 100):
        misses = measure_misses(ratio, noise, seeds, 20_000)
        assert misses[DIFFERENCES] <= 0.05 + 0.004  # two standard errors of 20,000 studies are 0.3 %
        assert misses[SCORES] <= 0.07 + 0.004


@pytest.mark.parametrize("models", [2, 6, 12])
def test_a_table_of_equal_architectures_has_a_wrong_verdict_in_at_most_5_of_100_studies(models):
    for noise in (1, 10, 30, 100):
        assert measure_wrong_tables(models, 1.4, noise, 1000)[DIFFERENCES] <= 0.05 + 0.014  # two standard errors


def test_the_simulated_draws_of_an_auroc_are_those_of_the_bootstrap_to_first_order():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(300), 2)
    diseased = (rng.random(300) < 0.5)[groups]
    scores, weights = diseased + rng.normal(size=600), draw_groups(300, 1000)
    (auroc,), (drawn,) = draw_aurocs(tabulate_shares(diseased, scores, groups, 300)[None], weights)
    exact, _ = score_ranks(rank_images(diseased, scores, groups, 300), weights)
    assert auroc == pytest.approx(roc_auc_score(diseased, scores))
    assert np.corrcoef(drawn, exact)[0, 1] > 0.995
    assert drawn.std() == pytest.approx(exact.std(), rel=0.02)
