"""A verdict judges the difference between our mean and a value of the study, with the errors of both."""

import math

import numpy as np
import pytest

from covbench.evaluation.comparison.verdicts import Reported, judge
from tests.evaluation.comparison.simulated_replications import (
    ACCURACIES,
    IMAGES,
    NOISES,
    Cell,
    measure_matches,
)

NAN = math.nan
OURS = {"mean": 0.90, "sd": 0.03, "seeds": 3, "groups": 400, "se": 0.018, "run_se": 0.02, "training_sd": 0.02}
STUDY = Reported(0.95, 0.01, 100)


def test_the_difference_is_ours_minus_the_studys_in_the_middle_of_its_interval():
    found = judge(STUDY, OURS, 100)
    assert found.difference == pytest.approx(-0.05)
    assert (found.low + found.high) / 2 == pytest.approx(-0.05)
    assert (found.name, found.low < 0 < found.high) == ("matches", True)


def test_the_error_is_that_of_both_sides_added_up():
    still = OURS | {"sd": 0.001, "se": 0.01, "run_se": 0.0173, "training_sd": 0.0, "groups": 100_000}
    found = judge(STUDY, still, 100)
    error = math.sqrt(0.01**2 + 0.0173**2 + 0.01**2 / 12)
    assert (found.high - found.low) / 2 == pytest.approx(1.645 * error, rel=0.01)  # seeds vary less than images explain


def test_a_smaller_test_set_of_the_study_makes_the_interval_wider():
    widths = []
    for images in (400, 100, 20):
        found = judge(Reported(0.95, 0.01, images), OURS, 100)
        widths.append(found.high - found.low)
    assert widths == sorted(widths)
    assert widths[2] > 1.1 * widths[1]


def test_a_coarser_number_of_the_study_makes_the_interval_wider():
    fine, coarse = (judge(Reported(0.95, step, 100), OURS, 100) for step in (0.001, 0.1))
    assert coarse.high - coarse.low > fine.high - fine.low


def test_noise_of_training_that_three_seeds_show_counts_with_two_degrees_of_freedom():
    noisy = OURS | {"sd": 0.05, "se": 0.0289, "run_se": 0.001, "training_sd": 0.05, "groups": 100_000}
    found = judge(Reported(0.95, 0.001, 100), noisy, 100)
    assert (found.high - found.low) / 2 == pytest.approx(4.303 * 0.05 * math.sqrt(4 / 3), rel=0.01)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"mean": NAN}, "our metric is undefined on this test fold"),
        ({"se": NAN}, "our value has no interval"),
        ({"seeds": 2, "training_sd": NAN}, "2 seeds are too few to measure the noise of training"),
        ({"seeds": 1, "training_sd": NAN, "sd": NAN}, "1 seed is too few to measure the noise of training"),
    ],
)
def test_what_has_no_error_cannot_be_judged(changes, why):
    found = judge(STUDY, OURS | changes, 100)
    assert (found.name, found.why, found.low) == ("untestable", why, None)


def test_a_value_without_a_run_of_ours_cannot_be_judged():
    assert judge(STUDY, {}, 0.0).why == "no finished run under published"


def test_a_value_of_other_images_is_untestable_with_its_reason_and_the_nearest_difference():
    found = judge(STUDY, OURS, 100, obstacle="The study has other images.")
    assert (found.name, found.why) == ("untestable", "The study has other images.")
    assert found.low < found.difference < found.high


def test_a_large_difference_differs_and_says_which_way():
    found = judge(Reported(0.70, 0.01, 400), OURS | {"sd": 0.003, "se": 0.01, "training_sd": 0.0}, 400)
    assert (found.name, found.why) == ("differs", "ours is above the study's value by more than chance explains")


def test_test_folds_without_any_error_still_leave_the_study_its_own():
    perfect = OURS | {"mean": 1.0, "sd": 0.0, "se": 0.005, "run_se": NAN, "training_sd": NAN}
    near, far = (judge(Reported(value, 0.01, 100), perfect, 100).name for value in (0.97, 0.80))
    assert (near, far) == ("matches", "differs")


@pytest.mark.parametrize(("images", "accuracy"), [(136, 0.90), (544, 0.96)])
def test_perfect_replications_match(images, accuracy):
    matched, former = np.array([measure_matches(Cell(images, accuracy, noise), 300) for noise in (0, 0.016)]).mean(0)
    assert 0.92 < matched < 0.98
    assert former < 0.80


@pytest.mark.slow
def test_1000_perfect_replications_of_every_cell_match_in_93_to_97_percent():
    for images in IMAGES:
        for accuracy in ACCURACIES:
            shares = [measure_matches(Cell(images, accuracy, noise), 1000)[0] for noise in NOISES]
            assert min(shares) > 0.92  # a share of 94 % varies by 0.8 % over simulations
            assert max(shares) < 0.975
            assert 0.93 < np.mean(shares) < 0.97


@pytest.mark.slow
def test_a_study_that_is_better_by_six_points_is_found_to_differ():
    matched, _ = measure_matches(Cell(2481, 0.90, 0.0, gap=0.06), 500)
    assert matched < 0.1
