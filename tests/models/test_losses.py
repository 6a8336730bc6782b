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
DICE = 1 - (2 * 0.75 / (1 + 1.25) + 2 * 0.5 / (1 + 0.75)) / 2
# the study's losses: background 0.75 where it is, 0.5 where the lesion is
BACKGROUND_DICE = 1 - (2 * 0.75 + 1e-5) / (1 + 1.25 + 1e-5)
BACKGROUND_FOCAL = (0.25 * 0.25**2 * -math.log(0.75) + 0.75 * 0.5**2 * -math.log(0.5)) / 2
WEIGHTED = (0.6 * -math.log(0.75) - math.log(1 - 0.25) - math.log(1 - 0.5) + 0.6 * -math.log(0.5)) / 4
FOCAL_OF_MEAN = 0.8 * (1 - math.exp(-CROSSENTROPY)) ** 2 * CROSSENTROPY  # binary, of complementary maps: the same mean
FLAT_TVERSKY = 1 - (1.25 + 1) / (1.25 + 0.3 * 0.75 + 0.7 * 0.75 + 1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("categorical_crossentropy", CROSSENTROPY),
        ("binary_crossentropy", CROSSENTROPY),  # two complementary outputs: the mean over them is the same
        ("background_dice_focal", BACKGROUND_DICE + BACKGROUND_FOCAL),
        ("combo", 0.4 * WEIGHTED + 0.2 * FOCAL_OF_MEAN + 0.4 * FLAT_TVERSKY),
        ("crossentropy_dice", CROSSENTROPY + DICE),
    ],
)
def test_each_loss_is_the_sum_of_its_terms(name, expected):
    assert float(build_loss(name)(TRUTH, GUESS)) == pytest.approx(expected, abs=1e-5)


def test_the_loss_of_binary_masks_is_that_of_the_library_that_the_study_trained_with():
    from covbench.models.sm_adapter import sm

    library = sm.losses.DiceLoss() + (1 * sm.losses.BinaryFocalLoss())
    generator = np.random.default_rng(0)
    for share in (0.0, 0.5, 0.97, 1.0):  # of background pixels
        truth = (generator.random((3, 8, 8)) < share).astype("float32")
        guess = generator.random((3, 8, 8)).astype("float32").round(1)  # exact 0 and 1 among them
        ours = build_loss("background_dice_focal")(np.stack([truth, 1 - truth], -1), np.stack([guess, 1 - guess], -1))
        assert float(ours) == pytest.approx(float(library(truth[..., None], guess[..., None])), rel=1e-5)


def test_the_loss_of_multiclass_masks_is_the_function_of_the_notebooks():
    """Master_Z_Unet_Segmentation.ipynb, cell 22, in numpy float64."""
    generator = np.random.default_rng(1)
    truth = np.eye(4)[generator.integers(0, 4, (2, 8, 8))]
    guess = generator.dirichlet(np.full(4, 0.3), (2, 8, 8)).clip(1e-6, 1 - 1e-6)
    crossentropy = -(truth * np.log(guess) + (1 - truth) * np.log(1 - guess)).mean()
    weighted = -(0.6 * truth * np.log(guess) + (1 - truth) * np.log(1 - guess)).mean()
    hits, invented, missed = (truth * guess).sum(), ((1 - truth) * guess).sum(), (truth * (1 - guess)).sum()
    tversky = 1 - (hits + 1) / (hits + 0.3 * invented + 0.7 * missed + 1)
    expected = 0.4 * weighted + 0.2 * 0.8 * (1 - np.exp(-crossentropy)) ** 2 * crossentropy + 0.4 * tversky
    assert float(build_loss("combo")(truth.astype("float32"), guess.astype("float32"))) == pytest.approx(
        expected, rel=1e-4
    )


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


def test_the_study_s_multiclass_loss_weighs_a_missed_and_an_invented_lesion_pixel_alike():
    truth = np.eye(2, dtype="float32")[np.array([[0] * 50 + [1] * 50])]
    missed, invented = (np.eye(2, dtype="float32")[np.array([[0] * n + [1] * (100 - n)])] for n in (51, 49))
    combo = build_loss("combo")
    # all classes share one Tversky sum: a pixel that the lesion misses is one that the background invents
    assert float(combo(truth, missed)) == pytest.approx(float(combo(truth, invented)), rel=1e-5)


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
    with pytest.raises(CovbenchError, match=r"'comboo'.*combo"):
        build_loss("comboo")
