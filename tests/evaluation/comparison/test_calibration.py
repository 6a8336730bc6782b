"""Calibration and temperature scaling, against scikit-learn, counts by hand and repeated patients."""

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from covbench.evaluation.comparison.calibration import (
    BRIER,
    ECE,
    LOG_LOSS,
    bin_images,
    find_error,
    measure_changes,
    score_images,
    tabulate_calibration,
)
from covbench.evaluation.comparison.recalibration import (
    CONSTANT,
    INTERCEPT,
    ONE_CLASS,
    SEPARATED,
    SLOPE,
    explain_undefined,
    recalibrate,
)
from covbench.evaluation.comparison.temperature import (
    BEYOND,
    FEW,
    FEWEST_VALIDATION_GROUPS,
    Temperature,
    fit_temperature,
    scale_probabilities,
)
from covbench.evaluation.comparison.validation import SharedDraws, draw_shared
from covbench.reporting.sections.calibration import build_calibration_table
from tests.evaluation.comparison.simulated_temperatures import draw_answers, simulate_studies
from tests.evaluation.comparison.test_operating_points import make_run

PATIENTS, DRAWS = 80, 60


@pytest.fixture
def shared():
    rng = np.random.default_rng(5)
    weights = rng.multinomial(PATIENTS, np.full(PATIENTS, 1 / PATIENTS), DRAWS).T.astype(np.uint16)
    return SharedDraws(pd.Index(range(PATIENTS)), weights)


@pytest.fixture
def answers():
    return draw_answers(np.random.default_rng(4), PATIENTS, 0, 1.7)


def copy_images(shared, answers, draw):
    return np.repeat(np.arange(len(answers.truth)), shared.weights[answers.codes, draw])


def compare_spread(draws, exact):
    """Intervals use the variance of the draws alone: one step has to give that of an exact fit."""
    assert draws.std() == pytest.approx(exact.std(), rel=0.1)
    assert np.corrcoef(draws, exact)[0, 1] > 0.98


def test_slope_is_that_of_scikit_learn_and_a_draw_is_close_to_a_fit_to_copied_patients(shared, answers):
    logits, ill = special.logit(answers.probabilities[:, 1]), answers.truth == 1
    slope, draws = recalibrate(logits, ill, answers.codes, shared)[SLOPE]

    def fit(rows):
        return LogisticRegression(C=np.inf, tol=1e-8).fit(logits[rows, None], ill[rows]).coef_[0, 0]

    assert slope == pytest.approx(fit(np.arange(len(ill))), abs=1e-4)
    exact = np.array([fit(copy_images(shared, answers, draw)) for draw in range(DRAWS)])
    compare_spread(draws, exact)


def test_the_intercept_makes_the_mean_probability_the_share_of_the_class(shared, answers):
    logits, ill = special.logit(answers.probabilities[:, 1]) + 1.0, answers.truth == 1
    intercept, draws = recalibrate(logits, ill, answers.codes, shared)[INTERCEPT]
    assert special.expit(logits + intercept).mean() == pytest.approx(ill.mean())
    rows = copy_images(shared, answers, 0)
    exact = optimize.brentq(lambda shift: (special.expit(logits[rows] + shift) - ill[rows]).mean(), -5, 5)
    assert draws[0] == pytest.approx(exact, abs=0.02)


def test_what_has_no_slope_says_why():
    logits = np.array([-1.0, -0.5, 0.5, 2.0])
    assert explain_undefined(logits, np.ones(4, bool)) == {SLOPE: ONE_CLASS, INTERCEPT: ONE_CLASS}
    assert explain_undefined(logits, logits > 0) == {SLOPE: SEPARATED}
    assert explain_undefined(np.zeros(4), logits > 0) == {SLOPE: CONSTANT}
    assert explain_undefined(logits, np.array([True, False, True, False])) == {}


def test_the_calibration_error_is_counted_by_hand():
    """Two bins of two images: .6 and .7 with one right (gap .15), .8 and .9 with both right (gap .15)."""
    confidence = np.repeat([0.6, 0.7, 0.8, 0.9], 5)
    bins = bin_images(np.stack([confidence, 1 - confidence], axis=1))
    assert bins.tolist() == [0] * 5 + [2] * 5 + [5] * 5 + [7] * 5  # equal probabilities share a bin
    gaps = np.array([[0.6 - 1 + 0.7], [0.8 - 1 + 0.9 - 1]])
    assert find_error(gaps, np.array([4])) == pytest.approx([(0.3 + 0.3) / 4])


def test_bins_hold_equally_many_images():
    confidence = np.random.default_rng(0).uniform(0.5, 1, 200)
    assert np.bincount(bin_images(np.stack([confidence, 1 - confidence], axis=1))).tolist() == [20] * 10


def test_scores_of_images_are_those_of_scikit_learn():
    probabilities, truth = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]]), np.array([0, 1])
    losses, brier = score_images(probabilities, truth)
    assert losses.mean() == pytest.approx(log_loss(truth, probabilities, labels=[0, 1, 2]))
    assert brier == pytest.approx([0.09 + 0.04 + 0.01, 0.09 + 0.49 + 0.16])


def test_scaling_divides_the_logit_of_two_classes_and_keeps_the_order_of_three():
    scaled = scale_probabilities(np.array([[0.2, 0.8]]), 0.5)
    assert special.logit(scaled[0, 1]) == pytest.approx(special.logit(0.8) / 2)
    three = scale_probabilities(np.array([[0.2, 0.5, 0.3]]), 2.0)
    assert three == pytest.approx(np.array([[0.04, 0.25, 0.09]]) / 0.38)


def test_the_temperature_has_the_smallest_log_loss_and_draws_are_close_to_fits_to_copied_patients(shared, answers):
    found = fit_temperature(answers.probabilities, answers.truth, answers.codes, shared)

    def fit(rows):
        def loss(inverse):
            return log_loss(answers.truth[rows], scale_probabilities(answers.probabilities[rows], inverse))

        return optimize.minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-6}).x

    assert found.inverse == pytest.approx(fit(np.arange(len(answers.truth))), abs=1e-4)
    exact = np.array([fit(copy_images(shared, answers, draw)) for draw in range(DRAWS)])
    compare_spread(found.drawn, exact)


def test_few_patients_and_a_fold_without_error_have_no_temperature(shared, answers):
    few = answers.codes < FEWEST_VALIDATION_GROUPS - 1
    assert fit_temperature(answers.probabilities[few], answers.truth[few], answers.codes[few], shared) == FEW
    perfect = np.eye(2)[answers.truth] * 0.8 + 0.1
    assert fit_temperature(perfect, answers.truth, answers.codes, shared) == BEYOND


def test_a_draw_changes_as_copied_patients_change(shared, answers):
    drawn = 0.6 + 0.001 * np.arange(DRAWS)
    changes = measure_changes(answers, Temperature(0.62, drawn), shared)
    for draw, inverse in enumerate(drawn):
        rows = copy_images(shared, answers, draw)
        before, after = (
            score_images(scale_probabilities(answers.probabilities[rows], scale), answers.truth[rows]).mean(axis=1)
            for scale in (1, inverse)
        )
        expected = dict(zip((LOG_LOSS, BRIER), after - before, strict=True))
        for metric, change in expected.items():
            assert changes[metric][1][draw] == pytest.approx(change, abs=2e-5)


def test_scaling_with_a_temperature_of_1_changes_nothing(shared, answers):
    changes = measure_changes(answers, Temperature(1.0, np.ones(DRAWS)), shared)
    assert [changes[name][0] for name in (LOG_LOSS, BRIER, ECE)] == pytest.approx([0, 0, 0], abs=1e-12)


def test_the_table_has_a_row_per_metric_and_the_page_one_per_model():
    rng = np.random.default_rng(6)
    runs = [make_run(rng, seed) for seed in range(3)]
    rows = pd.DataFrame(tabulate_calibration(runs, draw_shared(runs)))
    assert rows["metric"].tolist() == ["ece", "log_loss", "brier", "slope", "intercept"]
    assert (rows["low"] < rows["value"]).all()
    assert (rows["value"] < rows["high"]).all()
    whole = rows[rows["class"] == ""]
    assert whole["scaled"].to_numpy() == pytest.approx((whole["value"] + whole["change"]).to_numpy())
    tests = [run.test for run in runs]
    expected = np.mean([log_loss(test["truth"], test[["p_0", "p_1"]]) for test in tests])
    assert whole.set_index("metric").loc["log_loss", "value"] == pytest.approx(expected)
    table = build_calibration_table(rows)
    assert [len(row) for row in table.rows] == [len(table.columns)]


@pytest.mark.parametrize("sharpened", [1.0, 2.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scaling_never_worsens_the_log_loss_by_more_than_its_interval(sharpened, seed):
    found = simulate_studies((FEWEST_VALIDATION_GROUPS, 200), sharpened, 40, seed)
    assert found["change"].notna().all()
    assert (found["low"] <= 0).all()
    assert (found["change"].mean() < 0) == (sharpened > 1)
