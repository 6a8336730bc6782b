import numpy as np
import pytest
from scipy import stats

from covbench.evaluation.comparison.intervals import SIGNIFICANT, Error, estimate_difference
from covbench.evaluation.comparison.ranks import correct_holm, range_ranks, resolvable_difference

NORMAL = stats.norm.ppf((np.arange(200) + 0.5) / 200)


def test_ranks_count_the_verdicts():
    better = [("a", "b"), ("a", "c"), ("a", "d"), ("b", "d"), ("c", "d")]
    assert range_ranks("abcd", better) == {"a": (1, 1), "b": (2, 3), "c": (2, 3), "d": (4, 4)}


def test_without_a_verdict_every_rank_is_possible():
    assert range_ranks(["a", "b", "c"], []) == dict.fromkeys(["a", "b", "c"], (1, 3))


def test_a_single_model_is_first_of_one():
    assert range_ranks(["a"], []) == {"a": (1, 1)}


def test_holm_by_hand():
    assert correct_holm(np.array([0.01, 0.04, 0.03, np.nan, 0.5])) == pytest.approx(
        [0.04, 0.09, 0.09, np.nan, 0.5], nan_ok=True
    )


def test_many_groups_and_one_pair_resolve_2_8_standard_errors():
    expected = 0.01 * (stats.norm.ppf(0.975) + stats.norm.ppf(0.8))
    assert resolvable_difference(Error(0.01**2, 1_000_000), 1) == pytest.approx(expected, rel=1e-4)


def test_more_pairs_fewer_groups_and_noise_of_training_each_resolve_less():
    plain = resolvable_difference(Error(0.01**2, 500), 1)
    assert resolvable_difference(Error(0.01**2, 500), 66) > 1.3 * plain
    assert resolvable_difference(Error(0.01**2, 8), 1) > 1.1 * plain
    assert resolvable_difference(Error(0.01**2, 500, 0.01**2, 0.01**2, 3), 1) > 2 * plain


def measure_power(difference, patients, groups, pairs, studies):
    """The share of studies of trained models that find a true difference in the first step of Holm's correction."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(studies):
        value = np.array([difference + rng.normal(0, patients)])
        spread = patients * np.sqrt(rng.chisquare(groups - 1) / groups)
        found += estimate_difference(value, value + spread * NORMAL[None], groups).p < SIGNIFICANT / pairs
    return found / studies


@pytest.mark.parametrize(("groups", "pairs"), [(200, 1), (10, 3), (200, 66)])
def test_the_resolvable_difference_is_found_in_about_80_of_100_studies(groups, pairs):
    resolvable = resolvable_difference(Error(0.02**2, groups), pairs)
    # 300 studies: three standard errors are 0.07
    assert measure_power(resolvable, 0.02, groups, pairs, 300) == pytest.approx(0.8, abs=0.07)


def draw_error(patients, own, training, between=None):
    """The error of a difference over three seeds. own: each seed's patients. between: None for the expected one."""
    between = training**2 + own**2 if between is None else between
    noise = max(between - own**2, 0)
    return Error(patients**2 + own**2 / 3, 500, noise / 3, between / 3, 3, strict=True)


@pytest.mark.parametrize(("training", "pairs"), [(0.01, 1), (0.01, 3), (0.03, 1), (0.03, 3)])
def test_the_resolvable_difference_of_architectures_is_found_in_70_to_85_of_100_studies(training, pairs):
    rng, found = np.random.default_rng(0), 0
    resolvable = resolvable_difference(draw_error(0.01, 0.01, training), pairs)
    for _ in range(1500):
        values = resolvable + rng.normal(0, 0.01) + rng.normal(0, np.hypot(training, 0.01), 3)
        error = draw_error(0.01, 0.01, training, values.var(ddof=1))
        found += error.reach(SIGNIFICANT / pairs) < abs(values.mean())
    assert 0.70 < found / 1500 < 0.85
