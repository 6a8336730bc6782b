"""Baselines on drawn images whose answer is known."""

import numpy as np
import pytest

from covbench.models.baselines import FEATURES, MaskBaseline, choose_threshold, fit_baseline, predict_baseline
from covbench.models.catalogue import BASELINES
from covbench.models.lungs import find_lungs
from covbench.schema import CLASSIFICATION, CovbenchError

ROWS, COLUMNS = np.mgrid[:96, :96]


def ellipse(row, column, height, width):
    return ((ROWS - row) / height) ** 2 + ((COLUMNS - column) / width) ** 2 <= 1


LEFT_OF_IMAGE, RIGHT_OF_IMAGE = ellipse(48, 30, 26, 13), ellipse(48, 66, 26, 13)
LESION = ellipse(55, 30, 8, 6)


def draw_slice(lesion=True, cropped=False):
    """A body in air (or filling the image), two lungs, grey 40 on 200, a lesion of grey 120 in one of them."""
    image = np.full((96, 96), 200 if cropped else 5, np.uint8)
    image[ellipse(48, 48, 40, 44)] = 200
    image[LEFT_OF_IMAGE | RIGHT_OF_IMAGE] = 40
    if lesion:
        image[LESION] = 120
    return image


def stripes(vertical, seed):
    random = np.random.default_rng(seed)
    wave = np.sin((COLUMNS if vertical else ROWS) / 3 + random.uniform(0, 6))
    return (127 + 80 * wave + random.normal(0, 10, wave.shape)).clip(0, 255).astype(np.uint8)


def test_majority_predicts_the_class_frequencies_for_every_image():
    fitted = fit_baseline("majority", np.zeros((4, 8, 8), np.uint8), np.array([0, 2, 2, 2]), ("a", "b", "c"))
    np.testing.assert_allclose(predict_baseline(fitted, np.zeros((2, 8, 8), np.uint8)), [[0.25, 0, 0.75]] * 2)


def test_gradient_features_tell_vertical_from_horizontal_stripes():
    labels = np.arange(40) % 2
    images = np.stack([stripes(vertical=bool(label), seed=seed) for seed, label in enumerate(labels)])
    seen = FEATURES["hog_logistic"](images)
    fitted = fit_baseline("hog_logistic", seen[:30], labels[:30], ("across", "upright"))
    assert (predict_baseline(fitted, seen[30:]).argmax(axis=1) == labels[30:]).all()


def test_intensity_features_tell_bright_from_dark():
    random, labels = np.random.default_rng(0), np.arange(40) % 2
    images = random.integers(0, 200, (40, 32, 32)).astype(np.uint8) + (40 * labels[:, None, None]).astype(np.uint8)
    seen = FEATURES["intensity_logistic"](images)
    fitted = fit_baseline("intensity_logistic", seen[:30], labels[:30], ("dark", "bright"))
    assert (predict_baseline(fitted, seen[30:]).argmax(axis=1) == labels[30:]).all()


@pytest.mark.parametrize("name", [name for name, kind in BASELINES.items() if kind == CLASSIFICATION])
def test_probabilities_are_float32_and_sum_to_one_with_a_class_that_training_lacks(name):
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32)).astype(np.uint8)
    seen = FEATURES[name](images) if name in FEATURES else images
    found = predict_baseline(fit_baseline(name, seen, np.array([0, 0, 0, 2, 2, 2]), ("a", "b", "c")), seen)
    assert found.dtype == np.float32
    assert found.shape == (6, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert (found[:, 1] == 0).all()


def test_the_threshold_with_the_highest_dice_is_chosen():
    inside, outside = np.zeros(256, int), np.zeros(256, int)
    inside[[100, 150]] = 10, 20
    outside[[50, 100, 150]] = 1000, 30, 5
    # above 50: 2 * 30 / (65 + 30) = .63; above 100: 2 * 20 / (25 + 30) = .73, and so up to 149; above 150: nothing
    assert choose_threshold(inside, outside, lesion_pixels=30) == 125


def test_without_a_lesion_the_threshold_marks_nothing():
    assert choose_threshold(np.zeros(256, int), np.ones(256, int), lesion_pixels=0) == 255


@pytest.mark.parametrize("cropped", [False, True])
def test_lungs_are_the_dark_regions_inside_the_body_with_their_lesions(cropped):
    lungs = find_lungs(draw_slice(cropped=cropped))
    truth = LEFT_OF_IMAGE | RIGHT_OF_IMAGE
    assert 2 * (lungs & truth).sum() / (lungs.sum() + truth.sum()) > 0.93
    assert not lungs[:8, :8].any()


@pytest.mark.parametrize("grey", [0, 255])
def test_an_image_of_one_grey_has_no_lungs(grey):
    assert not find_lungs(np.full((64, 64), grey, np.uint8)).any()


def test_the_lung_threshold_finds_the_lesion():
    images, masks = np.stack([draw_slice()] * 3), np.stack([LESION.astype(np.uint8)] * 3)
    fitted = fit_baseline("lung_threshold", images, masks, ("background", "infection"))
    found = predict_baseline(fitted, images[:1])[0]
    assert found.dtype == np.uint8
    assert 40 < fitted.threshold < 120
    assert 2 * ((found == 1) & LESION).sum() / ((found == 1).sum() + LESION.sum()) > 0.8


def test_the_lung_threshold_marks_right_and_left_lung_and_the_commonest_lesion():
    mask = np.zeros((96, 96), np.uint8)
    mask[LEFT_OF_IMAGE], mask[RIGHT_OF_IMAGE] = 1, 2  # the patient's right lung stands at the left of the image
    mask[LESION] = 4
    mask[50, 30] = 3
    classes = ("background", "right_lung", "left_lung", "ground_glass", "consolidation")
    fitted = fit_baseline("lung_threshold", draw_slice()[None], mask[None], classes)
    found = predict_baseline(fitted, draw_slice()[None])[0]
    assert (fitted.lungs, fitted.lesion) == ((1, 2), 4)
    assert found[40, 30] == 1
    assert found[48, 66] == 2
    assert found[55, 30] == 4
    assert found[0, 0] == 0


def test_left_and_right_follow_the_training_masks_in_a_mirrored_image():
    mask = np.zeros((96, 96), np.uint8)
    mask[LEFT_OF_IMAGE], mask[RIGHT_OF_IMAGE] = 2, 1
    fitted = fit_baseline(
        "lung_threshold", draw_slice()[None], mask[None], ("background", "right_lung", "left_lung", "x")
    )
    found = predict_baseline(fitted, draw_slice(lesion=False)[None])[0]
    assert (found[48, 30], found[48, 66]) == (2, 1)


def test_a_single_lung_class_takes_both_lungs():
    mask = np.where(LEFT_OF_IMAGE | RIGHT_OF_IMAGE, 3, 0).astype(np.uint8)
    mask[LESION] = 1
    fitted = fit_baseline(
        "lung_threshold", draw_slice()[None], mask[None], ("background", "glass", "solid", "lungs_other")
    )
    found = predict_baseline(fitted, draw_slice()[None])[0]
    assert (found[40, 30], found[48, 66], found[55, 30]) == (3, 3, 1)


def test_the_empty_mask_is_background_everywhere():
    fitted = fit_baseline("empty_mask", draw_slice()[None], LESION[None].astype(np.uint8), ("background", "infection"))
    assert fitted == MaskBaseline("empty_mask", 255, 0, ())
    assert not predict_baseline(fitted, draw_slice()[None]).any()


def test_training_masks_without_a_lesion_leave_predictions_empty():
    fitted = fit_baseline("lung_threshold", draw_slice()[None], np.zeros((1, 96, 96), np.uint8), ("background", "x"))
    assert not predict_baseline(fitted, draw_slice()[None]).any()


@pytest.mark.parametrize(
    ("name", "labels", "words"),
    [
        ("majorty", [0, 1], "'majorty'; nearest known: majority"),
        ("hog_logistic", [1, 1], "holds a single class"),
        ("majority", [], "training fold is empty"),
    ],
)
def test_what_cannot_be_fitted_is_refused(name, labels, words):
    with pytest.raises(CovbenchError, match=words):
        fit_baseline(name, np.zeros((len(labels), 16, 16), np.uint8), np.array(labels, int), ("a", "b"))
