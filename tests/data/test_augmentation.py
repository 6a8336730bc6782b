"""Augmentation: one warp for image and mask, decided by seed, epoch and image alone."""

import numpy as np
import pytest

from covbench.data.augmentation import AUGMENTATIONS, Augmentation, augment, draw_perspective, draw_warp, image_key


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)


def test_the_same_key_gives_the_same_picture_and_another_epoch_another(picture):
    first, _ = augment(picture, None, AUGMENTATIONS["mild"], (1, 2, 3))
    again, _ = augment(picture, None, AUGMENTATIONS["mild"], (1, 2, 3))
    other, _ = augment(picture, None, AUGMENTATIONS["mild"], (1, 3, 3))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5


def test_a_certain_flip_is_the_mirror_image(picture):
    flipped, mask = augment(picture, picture // 128, Augmentation(flip=1.0), (0, 0, 0))
    np.testing.assert_array_equal(flipped, picture[:, ::-1])
    np.testing.assert_array_equal(mask, (picture // 128)[:, ::-1])


def test_image_and_mask_are_warped_alike():
    image = np.zeros((64, 64), np.uint8)
    image[20:40, 24:30] = 255
    warped, mask = augment(image, image // 255, AUGMENTATIONS["segmentation"], (0, 1, 5))
    assert mask.sum() > 0
    assert ((warped > 127) != (mask == 1)).mean() < 0.03


def test_a_mask_keeps_its_class_numbers():
    mask = np.random.default_rng(1).integers(0, 4, (32, 32)).astype(np.uint8)
    for epoch in range(20):
        _, warped = augment(mask * 60, mask, AUGMENTATIONS["segmentation"], (0, epoch, 0))
        assert set(np.unique(warped)) <= {0, 1, 2, 3}


def test_a_rotation_of_fifteen_degrees_stays_within_fifteen_degrees_about_the_centre():
    for seed in range(50):
        matrix = draw_warp(AUGMENTATIONS["rotation"], 100, 100, np.random.default_rng(seed))
        angle = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
        assert abs(angle) <= 15
        np.testing.assert_allclose(matrix @ [49.5, 49.5, 1], [49.5, 49.5])


def test_the_studys_zoom_draws_the_two_axes_apart_and_within_a_fifth():
    sides = []
    for seed in range(400):
        linear = draw_warp(AUGMENTATIONS["affine"], 100, 100, np.random.default_rng(seed))[:, :2]
        sides.append(np.linalg.norm(linear, axis=0))
    sides = np.array(sides)
    assert sides.min() == pytest.approx(0.8, abs=0.01)
    assert sides.max() == pytest.approx(1.2, abs=0.01)
    assert abs(np.corrcoef(sides.T)[0, 1]) < 0.15
    assert sides.mean() == pytest.approx(1.0, abs=0.02)


def test_other_augmentations_zoom_both_axes_alike():
    for name in ("mild", "segmentation"):
        linear = draw_warp(AUGMENTATIONS[name], 100, 100, np.random.default_rng(3))[:, :2]
        assert len(set(np.linalg.norm(linear, axis=0).round(9))) == 1


def test_no_augmentation_returns_the_picture_itself(picture):
    assert augment(picture, None, AUGMENTATIONS["none"], (0, 0, 0))[0] is picture


def test_copies_of_an_image_have_keys_of_their_own():
    assert len({image_key("case_1#7", copy) for copy in range(10)}) == 10


def test_the_study_s_perspective_moves_image_and_mask_alike():
    image = np.zeros((64, 64), np.uint8)
    image[20:40, 24:30] = 255
    warped, mask = augment(image, image // 255, Augmentation(perspective=1.0), (0, 1, 5))
    assert mask.sum() > (image // 255).sum()  # corners move inwards, so everything grows
    assert ((warped > 127) != (mask == 1)).mean() < 0.03


def test_a_perspective_maps_the_corners_a_little_inwards():
    corners = np.array([[0, 0, 1], [99, 0, 1], [99, 49, 1], [0, 49, 1]], float).T
    for seed in range(20):
        moved = draw_perspective(50, 100, np.random.default_rng(seed)) @ corners
        inside = np.abs((moved[:2] / moved[2]).T - corners[:2].T) / (99, 49)
        assert (inside <= 0.4 + 1e-6).all()
        assert 0 < inside.mean() < 0.2


def test_augmentations_of_the_study_keep_masks_and_differ_from_epoch_to_epoch(picture):
    mask = picture // 64
    for name in ("study_lesions", "study_classes"):
        shown = [augment(picture, mask, AUGMENTATIONS[name], (0, epoch, 7)) for epoch in range(12)]
        assert all(image.dtype == np.uint8 and image.shape == picture.shape for image, _ in shown)
        assert all(set(np.unique(warped)) <= {0, 1, 2, 3} for _, warped in shown)
        assert len({image.tobytes() for image, _ in shown}) == 12
