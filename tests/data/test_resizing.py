"""Masks stay on the grid of their image."""

import numpy as np
import pytest

from covbench.data.images import resize_image
from covbench.data.resizing import resize_mask, restore_mask


def test_making_a_mask_smaller_invents_no_class():
    mask = np.kron(np.array([[0, 3], [3, 0]], np.uint8), np.ones((10, 6), np.uint8))
    assert np.array_equal(resize_mask(mask, 4), np.kron([[0, 3], [3, 0]], np.ones((2, 2))))


@pytest.mark.parametrize(("stored", "size"), [(512, 256), (512, 320), (630, 256)])
def test_a_mask_stays_on_the_grid_of_its_image(stored, size):
    """Centroids of discs in image and mask, averaged over discs at any fraction of a pixel. Nearest is off by 0.25."""
    generator = np.random.default_rng(0)
    shifts = []
    for _ in range(24):
        row, column = generator.uniform(200, stored - 200, 2)
        mask = draw_disc(stored, row, column, radius=generator.uniform(40, 150))
        shifts.append(find_centroid(resize_mask(mask, size)) - find_centroid(resize_image(mask * 200, size)))
    assert np.abs(np.mean(shifts, axis=0)).max() < 0.02
    assert np.abs(shifts).max() < 0.1


def draw_disc(side, row, column, radius):
    rows, columns = np.mgrid[:side, :side]
    return ((rows - row) ** 2 + (columns - column) ** 2 <= radius**2).astype(np.uint8)


def find_centroid(weights):
    rows, columns = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(rows * weights).sum(), (columns * weights).sum()]) / weights.sum()


def test_a_squashed_mask_holds_no_class_that_the_mask_does_not_hold():
    mask = np.random.default_rng(1).choice(np.array([0, 1, 3], np.uint8), (97, 61))
    small = resize_mask(mask, 40)
    assert set(np.unique(small)) == {0, 1, 3}
    assert small.dtype == np.uint8
    assert small.shape == (40, 40)


def test_a_tie_between_a_lesion_and_the_background_keeps_the_lesion():
    edge = np.zeros((8, 8), np.uint8)
    edge[:, 5:] = 1  # the third of four new columns is half lesion
    assert resize_mask(edge, 4)[0].tolist() == [0, 0, 1, 1]


def test_a_mask_comes_back_to_its_stored_grid():
    small = np.array([[0, 1], [2, 3]], np.uint8)
    assert np.array_equal(restore_mask(small, (4, 6)), np.kron(small, np.ones((2, 3))))
