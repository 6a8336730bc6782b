"""Operating points: thresholds from validation, rates from test, against counts by hand and repeated patients."""

import numpy as np
import pandas as pd
import pytest

from covbench.evaluation.comparison.operating_points import (
    Rated,
    estimate_point,
    log_ratio,
    pool_patients,
    rate_points,
    tabulate_operating_points,
)
from covbench.evaluation.comparison.thresholds import choose_thresholds, draw_scores, raise_level, share_below
from covbench.evaluation.comparison.validation import SharedDraws, ValidatedRun, draw_shared
from covbench.reporting.sections.operating_points import build_operating_points, predict_value
from covbench.schema import Run
from tests.evaluation.comparison.simulated_thresholds import measure_promise, simulate_studies
from tests.run_records import score_record


def draw_once(values, draws=None):
    """Scores of as many groups, each drawn once or as often as `draws` says."""
    values = np.asarray(values, float)
    weights = np.ones((len(values), 1), np.uint16) if draws is None else np.asarray(draws, np.uint16)
    return draw_scores(values, np.arange(len(values)), weights)


@pytest.mark.parametrize(("scores", "chosen"), [(9, 9), (10, 10), (19, 18), (20, 19), (99, 90), (100, 91)])
def test_the_threshold_is_the_score_that_keeps_the_promise_for_the_next_one(scores, chosen):
    """Of n scores and a new one, each rank is as likely: the new one is at or below the k-th with k / (n + 1)."""
    threshold = choose_thresholds(draw_once(range(1, scores + 1)), 0.9)
    assert threshold.tolist() == [chosen]
    assert chosen / (scores + 1) >= 0.9 > (chosen - 1) / (scores + 1)


def test_too_few_scores_promise_nothing():
    assert raise_level(0.9, 8) > 1
    assert np.isnan(choose_thresholds(draw_once(range(8)), 0.9)).all()
    assert np.isnan(choose_thresholds(draw_once([]), 0.9)).all()


def test_a_share_counts_ties_with_the_threshold_and_is_undefined_without_scores():
    scores = draw_once([0.1, 0.4, 0.4, 0.9])
    assert share_below(scores, np.array([0.4])).tolist() == [0.75]
    assert share_below(scores, np.array([0.0])).tolist() == [0]
    assert np.isnan(share_below(scores, np.array([np.nan]))).all()
    assert np.isnan(share_below(draw_once([]), np.array([0.5]))).all()


def make_fold(rng, first, patients=40):
    groups = first + rng.integers(0, patients, 3 * patients)
    ill = rng.random(3 * patients) < 0.5
    probability = np.round(0.4 * ill + 0.6 * rng.random(3 * patients), 2)  # rounded: ties
    return pd.DataFrame({"probability": probability, "positive": ill, "group": groups})


def rate_by_hand(validation, test, promised, level, count):
    """Sort, count and divide, without any help."""
    side = promised == "sensitivity"
    sign = -1 if side else 1
    scores = np.sort(sign * validation.loc[validation["positive"] == side, "probability"].to_numpy())
    need = level * (count + 1) / count * len(scores)
    threshold = sign * scores[int(np.ceil(need - 1e-9)) - 1]
    called = test["probability"] >= threshold if side else test["probability"] > threshold
    return threshold, called[test["positive"]].mean(), (~called)[~test["positive"]].mean()


@pytest.mark.parametrize("promised", ["specificity", "sensitivity"])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_a_draw_chooses_and_rates_as_if_its_patients_had_been_copied(promised, level):
    rng = np.random.default_rng(1)
    validation, test = make_fold(rng, 0), make_fold(rng, 40)
    weights = rng.multinomial(80, np.full(80, 1 / 80), 5).T.astype(np.uint16)
    rated = rate_points(validation, test, SharedDraws(pd.Index(range(80)), weights))[promised, level]
    count = int((validation["positive"] == (promised == "sensitivity")).sum())
    threshold, *rates = rate_by_hand(validation, test, promised, level, count)
    assert rated.threshold == pytest.approx(threshold)
    assert [rated.rates["sensitivity"], rated.rates["specificity"]] == pytest.approx(rates)
    for number, drawn in enumerate(weights.T):
        copied = [fold.loc[np.repeat(fold.index, drawn[fold["group"]])] for fold in (validation, test)]
        _, *rates = rate_by_hand(*copied, promised, level, count)
        assert [rated.draws[name][number] for name in ("sensitivity", "specificity")] == pytest.approx(rates)


def test_a_patient_has_the_mean_probability_and_is_positive_with_one_positive_image():
    rows = pd.DataFrame(
        {"patient_id": list("aabc"), "group": list("xxyy"), "truth": [0, 1, 0, 1], "p_1": [0.2, 0.6, 0.3, 0.9]}
    )
    pooled = pool_patients(rows, 1)
    assert pooled["probability"].tolist() == pytest.approx([0.4, 0.3, 0.9])
    assert pooled["positive"].tolist() == [True, False, True]
    assert pooled["group"].tolist() == ["x", "y", "y"]


def test_the_terms_of_a_ratio_average_to_that_of_the_mean_rates():
    hits, errors = np.array([0.8, 0.9, 0.7]), np.array([0.1, 0.0, 0.2])
    assert np.mean(log_ratio(hits, errors)) == pytest.approx(np.log(0.8 / 0.1))
    assert np.isnan(log_ratio(hits, np.zeros(3))).all()


def test_likelihood_ratios_are_those_of_the_rates_and_undefined_without_false_positives():
    drawn = np.random.default_rng(0).uniform(0.7, 0.9, 200)
    rated = Rated(0.5, {"sensitivity": 0.8, "specificity": 0.9}, {"sensitivity": drawn, "specificity": drawn})
    groups = {"sensitivity": 30, "specificity": 40}
    row = estimate_point([rated], groups)
    assert row["lr_positive"] == pytest.approx(0.8 / 0.1)
    assert row["lr_negative"] == pytest.approx(0.2 / 0.9)
    assert row["lr_positive_low"] < row["lr_positive"] < row["lr_positive_high"]
    perfect = Rated(0.5, {"sensitivity": 0.8, "specificity": 1.0}, rated.draws)
    assert "lr_positive" not in estimate_point([perfect], groups)


def make_run(rng, seed, architecture="vgg16", patients=60, first=0, **changes):
    """A validated run of a two-class task: validation patients, and as many others that are tested."""
    rows = make_fold(rng, 0, 2 * patients)
    rows = rows.assign(p_1=rows["probability"], p_0=1 - rows["probability"], truth=rows["positive"].astype(int))
    rows = rows.assign(image_id=[f"i{number}" for number in range(len(rows))], copy=0)
    rows["patient_id"] = rows["group"] = [f"p{number}" for number in rows["group"]]
    tested = rows["group"].isin([f"p{number}" for number in range(patients)])
    metrics = {"kind": "classification", "classes": ("other", "covid"), "positive": "covid", "patients": patients}
    record = score_record(Run("covid_ct", "audited", architecture, seed), metrics, rows[tested])
    return ValidatedRun(record, rows[~tested], rows[tested], **({"reason": ""} | changes))


def test_a_model_has_a_row_per_unit_and_point_with_its_patients_and_the_table_shows_them():
    rng = np.random.default_rng(2)
    runs = [make_run(rng, seed, patients=200) for seed in range(3)]
    rows = list(tabulate_operating_points(runs, draw_shared(runs)))
    assert [(row["unit"], row["promised"], row["level"]) for row in rows[:5]] == [
        ("image", "specificity", 0.9),
        ("image", "specificity", 0.95),
        ("image", "sensitivity", 0.9),
        ("image", "sensitivity", 0.95),
        ("patient", "specificity", 0.9),
    ]
    tested = pd.concat([run.test for run in runs])
    assert rows[0]["positive_groups"] == tested.loc[tested["truth"] == 1, "group"].nunique()
    assert rows[0]["prevalence"] == pytest.approx(tested["truth"].mean())
    assert rows[0]["covers"] == "patients and training"
    assert rows[0]["specificity_low"] < rows[0]["specificity"] < rows[0]["specificity_high"]
    shown = build_operating_points(pd.DataFrame(rows))
    assert len(shown.table.rows) == 8
    ppv = shown.table.rows[0][8]
    assert ppv.facts["predictive"] == "ppv"
    share, rate = rows[0]["sensitivity"] * shown.prevalence, (1 - rows[0]["specificity"]) * (1 - shown.prevalence)
    assert ppv.sort == pytest.approx(share / (share + rate))


def test_a_run_without_validation_of_its_own_has_a_reason_and_no_point():
    runs = [make_run(np.random.default_rng(3), 0, reason="test images are in the validation fold")]
    rows = pd.DataFrame(tabulate_operating_points(runs, draw_shared(runs)))
    assert set(rows["reason"]) == {"test images are in the validation fold"}
    assert "sensitivity" not in rows
    assert build_operating_points(rows.assign(sensitivity=np.nan)) is None


def test_predictive_values_are_those_of_a_table_of_a_thousand_people():
    """Of 100 ill people 90 are found; of 900 others 180 are called ill."""
    assert predict_value("ppv", 0.9 / 0.2, 0.1) == pytest.approx(90 / (90 + 180))
    assert predict_value("npv", 0.1 / 0.8, 0.1) == pytest.approx(720 / (720 + 10))
    assert predict_value("ppv", np.inf, 0.1) == 1


@pytest.mark.parametrize("unit", ["image", "patient"])
def test_the_interval_of_the_promised_specificity_holds_it_in_93_to_97_percent_of_studies(unit):
    found = simulate_studies((60, 200), unit, 200)
    held, _, mean = measure_promise(found["specificity", 0.9], "specificity", 0.9)
    assert 0.93 <= held <= 0.97
    assert mean == pytest.approx(0.9, abs=0.02)
