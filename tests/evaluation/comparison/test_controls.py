"""Networks on altered images: scores on the same images, the change with its interval, and the flag."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from covbench.data.controls import CONTROLS
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.controls import NO, YES, compare_predictions
from covbench.evaluation.predictions import KEPT
from covbench.schema import CLASSIFICATION, Task

TASK = Task("drawn", CLASSIFICATION, ("healthy", "sick"), positive="sick")
IMAGES = 200


def predict(skill, seed, noise_seed):
    """Predictions whose logit is the label times `skill` plus noise; tables of one noise_seed share it."""
    labels, ids = np.arange(IMAGES) % 2, [f"i{seed}_{number}" for number in range(IMAGES)]
    logit = skill * (2 * labels - 1) + np.random.default_rng(noise_seed).normal(size=IMAGES)
    chance = 1 / (1 + np.exp(-logit))
    table = pd.DataFrame({name: ids for name in KEPT if name not in ("copy", "source")})
    return table.assign(copy=0, source="", fold="test", truth=labels, seed=seed, p_0=1 - chance, p_1=chance)


def compare(full, altered, seeds=(0, 1, 2), drop=0):
    """The rows by control. full, altered: skills. drop: images at the end that no control has."""
    cases = {seed: evaluate_classification(predict(full, seed, seed), TASK)[1] for seed in seeds}
    told = [predict(altered, seed, seed + 50).head(IMAGES - drop) for seed in seeds]
    predictions = pd.concat([table.assign(control=control) for table in told for control in CONTROLS])
    return {row["control"]: row for row in compare_predictions(cases, predictions, TASK)}, cases, told


def test_both_scores_are_means_over_seeds_on_the_images_that_the_control_has():
    rows, cases, told = compare(1.0, 0.5, drop=60)
    row = rows["lungs_only"]
    full = [roc_auc_score(table["truth"][:140], table["p_1"][:140]) for table in cases.values()]
    altered = [roc_auc_score(table["truth"], table["p_1"]) for table in told]
    assert row["full"] == pytest.approx(np.mean(full))
    assert row["altered"] == pytest.approx(np.mean(altered))
    assert row["change"] == pytest.approx(np.mean(altered) - np.mean(full))
    assert row["kept"] == pytest.approx((np.mean(altered) - 0.5) / (np.mean(full) - 0.5))
    assert (row["images"], row["groups"], row["left_out"], row["seeds"]) == (420, 420, 180, 3)
    assert row["change_low"] < row["change"] < row["change_high"] < 0


def test_only_a_network_that_is_as_good_without_lungs_and_better_than_chance_is_flagged():
    assert compare(1.2, 1.2)[0]["lungs_out"]["flag"] == YES
    assert compare(1.2, 0.4)[0]["lungs_out"]["flag"] == NO  # it needs them
    assert compare(0.0, 0.0)[0]["lungs_out"]["flag"] == NO  # it has learned nothing
    assert {row["flag"] for name, row in compare(1.2, 1.2)[0].items() if name != "lungs_out"} == {""}


def test_a_perfect_score_on_both_is_flagged_by_its_exact_interval():
    row = compare(50.0, 50.0, seeds=(0,))[0]["lungs_out"]
    assert (row["full"], row["altered"], row["flag"]) == (1.0, 1.0, YES)
    assert row["full_low"] == pytest.approx(0.025 ** (1 / 100))  # 100 pairs, all in order


def test_a_seed_without_lungs_has_a_reason_instead_of_a_score():
    cases = {0: evaluate_classification(predict(1.0, 0, 0), TASK)[1]}
    predictions = predict(1.0, 0, 0).assign(control="border_only")
    rows = {row["control"]: row for row in compare_predictions(cases, predictions, TASK)}
    assert rows["lungs_out"]["reason"] == "no lungs were found in any image of seed 0"
    assert (rows["lungs_out"]["images"], rows["lungs_out"]["left_out"]) == (0, 200)
    assert rows["border_only"]["change"] == 0
