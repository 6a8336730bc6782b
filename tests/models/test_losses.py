"""Losses, worked out by hand on two pixels of two classes."""

import math

import keras
import numpy as np
import pytest

from covbench.models.losses import LOSSES, build_loss
from covbench.schema import CovbenchError

TRUTH = np.array([[[[1, 0], [0, 1]]]], np.float32)  # one image of 1 x 2 pixels: class 0, then class 1
GUESS = np.array([[[[0.75, 0.25], [0.5, 0.5]]]], np.float32)
CROSSENTROPY = (-math.log(0.75) - math.log(0.5)) / 2
FOCAL = 0.25 * (0.25**2 * -math.log(0.75) + 0.5**2 * -math.log(0.5)) / 2
DICE = 1 - (2 * 0.75 / (1 + 1.25) + 2 * 0.5 / (1 + 0.75)) / 2
TVERSKY = 1 - (0.75 / (0.75 + 0.7 * 0.25 + 0.3 * 0.5) + 0.5 / (0.5 + 0.7 * 0.5 + 0.3 * 0.25)) / 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("categorical_crossentropy", CROSSENTROPY),
        ("binary_crossentropy", CROSSENTROPY),  # two complementary outputs: the mean over them is the same
        ("dice_focal", DICE + FOCAL),
        ("crossentropy_focal_tversky", CROSSENTROPY + FOCAL + TVERSKY),
        ("crossentropy_dice", CROSSENTROPY + DICE),
    ],
)
def test_each_loss_is_the_sum_of_its_terms(name, expected):
    assert float(build_loss(name)(TRUTH, GUESS)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_prediction_costs_nothing(name):
    assert float(build_loss(name)(TRUTH, TRUTH)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_a_wrong_prediction_costs_more_than_an_unsure_one(name):
    assert float(build_loss(name)(TRUTH, 1 - TRUTH)) > float(build_loss(name)(TRUTH, GUESS))


def test_class_weights_multiply_the_cost_of_samples_of_that_class():
    truth, guess = np.array([[1, 0], [0, 1]], np.float32), np.full((2, 2), 0.5, np.float32)
    loss = build_loss("categorical_crossentropy", [1.0, 3.0])
    assert float(loss(truth, guess)) == pytest.approx((math.log(2) + 3 * math.log(2)) / 2, abs=1e-6)


def test_class_weights_leave_the_dice_term_alone():
    weighted = float(build_loss("crossentropy_dice", [2.0, 2.0])(TRUTH, GUESS))
    assert weighted == pytest.approx(2 * CROSSENTROPY + DICE, abs=1e-5)


def test_tversky_punishes_missed_lesion_more_than_invented_lesion():
    tversky = build_loss("crossentropy_focal_tversky", [0.0, 0.0])  # the local terms weigh nothing
    truth, missed, invented = (np.eye(2, dtype="float32")[_lesion(pixels)] for pixels in (2, 1, 3))
    # averaged over lesion and background; what one class misses, the other invents
    assert float(tversky(truth, missed)) == pytest.approx(1 - (1 / (1 + 0.7) + 98 / (98 + 0.3)) / 2, abs=1e-5)
    assert float(tversky(truth, invented)) == pytest.approx(1 - (2 / (2 + 0.3) + 97 / (97 + 0.7)) / 2, abs=1e-5)


def _lesion(pixels):
    return np.array([[1] * pixels + [0] * (100 - pixels)])


@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_maps_of_512_pixels_give_a_finite_float32_loss(name):
    truth = np.zeros((2, 512, 512, 2), np.float16)
    truth[..., 0] = 1
    value = build_loss(name, [1.0, 5.0])(truth, np.full_like(truth, 0.5))
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert np.isfinite(float(value))


def test_a_class_absent_from_the_batch_gives_a_finite_loss():
    truth = np.zeros((1, 2, 2, 3), np.float32)
    truth[..., 0] = 1
    guess = np.full_like(truth, 1 / 3)
    assert all(np.isfinite(float(build_loss(name)(truth, guess))) for name in LOSSES)


@pytest.mark.parametrize("name", LOSSES)
def test_a_saved_loss_comes_back_the_same(name):
    loss = build_loss(name, [1.0, 2.5])
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    assert float(again(TRUTH, GUESS)) == float(loss(TRUTH, GUESS))


def test_an_unknown_loss_is_refused_with_the_nearest_known():
    with pytest.raises(CovbenchError, match=r"'dice_focl'.*dice_focal"):
        build_loss("dice_focl")
