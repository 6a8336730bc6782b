import numpy as np
import pytest
from scipy import stats

from covbench.evaluation.comparison.paired_tests import (
    compare_aurocs,
    compare_correct,
    correct_holm,
    flip_signs,
    place_values,
)


def draw_models(seed=0, number=80, patients=80):
    rng = np.random.default_rng(seed)
    is_class = rng.random(number) < 0.4
    signal = is_class + rng.normal(size=number)
    one, other = (signal + rng.normal(size=number)).round(1), (signal + 2 * rng.normal(size=number)).round(1)
    return is_class, one, other, np.arange(number) % patients


def delong_by_all_pairs(is_class, one, other):
    """The formulas of DeLong et al. as printed: a kernel of every positive with every negative."""
    kernels = []
    for scores in (one, other):
        apart = scores[is_class][:, None] - scores[~is_class][None]
        kernels.append((apart > 0) + 0.5 * (apart == 0))
    areas = [kernel.mean() for kernel in kernels]
    s10 = np.cov([kernel.mean(axis=1) for kernel in kernels])
    s01 = np.cov([kernel.mean(axis=0) for kernel in kernels])
    cov = s10 / is_class.sum() + s01 / (~is_class).sum()
    return areas[0] - areas[1], np.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1])


def test_with_one_image_a_patient_the_test_is_delongs():
    fold = draw_models()
    difference, error, p = compare_aurocs([fold])
    expected, expected_error = delong_by_all_pairs(*fold[:3])
    assert (difference, error) == pytest.approx((expected, expected_error), rel=1e-12)
    assert p == pytest.approx(2 * stats.norm.sf(abs(expected / expected_error)))


def test_place_values_by_hand():
    is_class = np.array([True, True, False, False, False])
    scores = np.array([0.9, 0.4, 0.4, 0.1, 0.8])
    assert place_values(is_class, scores) == pytest.approx([1, 0.5, 0.75, 1, 0.5])


def test_a_patient_with_every_image_twice_tells_no_more_than_with_each_once():
    is_class, one, other, patients = draw_models(number=60, patients=20)
    once = compare_aurocs([(is_class, one, other, patients)])
    twice = compare_aurocs([tuple(np.tile(values, 2) for values in (is_class, one, other, patients))])
    assert twice == pytest.approx(once)
    strangers = [*(np.tile(values, 2) for values in (is_class, one, other)), np.arange(120)]
    assert compare_aurocs([tuple(strangers)])[1] < once[1]


def test_the_clustered_error_is_the_one_that_a_bootstrap_over_patients_finds():
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(80), 4)
    is_class = np.repeat(rng.random(80) < 0.5, 4) ^ (rng.random(320) < 0.1)
    shared = np.repeat(rng.normal(size=80), 4)
    one, other = (is_class + shared + rng.normal(size=320) for _ in range(2))
    _, error, _ = compare_aurocs([(is_class, one, other, patients)])
    drawn = []
    for _ in range(1500):
        chosen = (rng.integers(0, 80, 80)[:, None] * 4 + np.arange(4)).ravel()
        values = [place_values(is_class[chosen], scores[chosen])[is_class[chosen]].mean() for scores in (one, other)]
        drawn.append(values[0] - values[1])
    assert error == pytest.approx(np.std(drawn), rel=0.1)


def test_two_seeds_with_the_same_fold_tell_no_more_than_one():
    fold = draw_models(patients=30)
    assert compare_aurocs([fold, fold]) == pytest.approx(compare_aurocs([fold]))


def test_a_fold_without_one_of_the_classes_has_no_difference():
    is_class, one, other, patients = draw_models()
    assert np.isnan(compare_aurocs([(np.ones_like(is_class), one, other, patients)])).all()


def test_a_model_against_itself_differs_by_nothing():
    is_class, one, _, patients = draw_models()
    assert compare_aurocs([(is_class, one, one, patients)]) == (0, 0, 1)


def test_flipped_signs_give_scipys_permutation_test():
    rng = np.random.default_rng(1)
    gains = rng.normal(0.15, 1, (40, 3))
    found = flip_signs(gains, flips=50_000)
    for number in range(3):
        sides = gains[:, number], np.zeros(40)
        expected = stats.permutation_test(
            sides, lambda a, b, axis: np.sum(a - b, axis=axis), permutation_type="samples", n_resamples=100_000, rng=2
        )
        assert found[number] == pytest.approx(expected.pvalue, abs=0.015)


def test_six_patients_who_all_agree_are_extreme_in_2_of_64_orders():
    assert flip_signs(np.ones((6, 1)), flips=20_000)[0] == pytest.approx(2 / 64, abs=0.005)


def test_mcnemar_by_hand():
    one = np.array([True] * 8 + [False] * 2 + [True] * 90)
    other = np.array([False] * 8 + [True] * 2 + [True] * 90)
    assert compare_correct(one, other) == pytest.approx(2 * (1 + 10 + 45) / 2**10)
    assert compare_correct(one, one) == 1


def test_holm_by_hand():
    assert correct_holm(np.array([0.01, 0.04, 0.03, np.nan, 0.5])) == pytest.approx(
        [0.04, 0.09, 0.09, np.nan, 0.5], nan_ok=True
    )
