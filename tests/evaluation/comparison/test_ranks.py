from statistics import NormalDist

import numpy as np
import pytest

from covbench.evaluation.comparison.ranks import range_ranks, resolvable_difference


def test_models_far_apart_have_a_place_each_and_close_ones_share_theirs():
    rng = np.random.default_rng(0)
    scores = np.array([0.90, 0.70, 0.69, 0.50])
    best, worst = range_ranks(scores[:, None] + rng.normal(0, 0.02, (4, 4000)), scores)
    assert best.tolist() == [1, 2, 2, 4]
    assert worst.tolist() == [1, 3, 3, 4]


def test_what_moves_together_is_told_apart_though_the_intervals_overlap():
    rng = np.random.default_rng(0)
    scores = np.array([0.8, 0.78])
    together = rng.normal(0, 0.05, 4000) + rng.normal(0, 0.002, (2, 4000))
    assert range_ranks(scores[:, None] + together, scores)[1].tolist() == [1, 2]
    assert range_ranks(scores[:, None] + rng.normal(0, 0.05, (2, 4000)), scores)[1].tolist() == [2, 2]


@pytest.mark.parametrize("gap", [0.0, 0.01])
def test_the_true_place_lies_in_the_range_in_at_least_95_of_100_studies(gap):
    rng = np.random.default_rng(5)
    truth, error = np.array([0, gap, 3 * gap, 3 * gap]), 0.02
    held = []
    for _ in range(400):
        scores = truth + rng.normal(0, error, 4)
        best, worst = range_ranks(scores[:, None] + rng.normal(0, error, (4, 500)), scores)
        place = 1 + (truth[None] > truth[:, None]).sum(axis=1)
        held.append((best <= place) & (place <= worst))
    assert np.mean(held, axis=0).min() >= 0.94


def test_a_single_model_is_first_of_one():
    assert [side.tolist() for side in range_ranks(np.zeros((1, 10)), np.zeros(1))] == [[1], [1]]


def test_draws_that_leave_a_model_without_a_score_are_left_out():
    draws = np.array([[0.9, 0.91, np.nan], [0.1, 0.11, 0.1]])
    assert range_ranks(draws, np.array([0.9, 0.1]))[1].tolist() == [1, 2]


def test_a_resolvable_difference_is_found_in_80_of_100_test_sets():
    found = NormalDist(resolvable_difference(0.01), 0.01)
    assert 1 - found.cdf(NormalDist().inv_cdf(0.975) * 0.01) == pytest.approx(0.8, abs=1e-6)
