"""Which pixels each shortcut control keeps, and what takes the place of the others."""

import numpy as np
import pytest

from covbench.data.controls import CONTROLS, alter_images, keep_pixels

SIDE = 40  # the border is 5 pixels wide, the margin 2


@pytest.fixture
def lungs():
    """Two upright bars, 6 pixels wide and 20 high, with 8 pixels between them."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10:30, 10:16] = mask[10:30, 24:30] = True
    return mask


def test_border_and_centre_are_each_others_complement_and_need_no_lungs():
    nothing = np.zeros((SIDE, SIDE), bool)
    border, centre = keep_pixels("border_only", nothing), keep_pixels("centre_only", nothing)
    assert (border ^ centre).all()
    assert centre.sum() == 30 * 30
    assert centre[5, 5]
    assert not centre[4, 20]


def test_lungs_only_keeps_the_mask_and_lungs_out_drops_it_with_what_lies_between_and_around(lungs):
    assert (keep_pixels("lungs_only", lungs) == lungs).all()
    out = keep_pixels("lungs_out", lungs)
    assert not out[10:30, 10:30].any()  # both lungs and the 8 pixels between them
    assert not out[8, 20]
    assert out[7, 20]  # three pixels above the lungs
    assert (~out).sum() == 400 + 4 * 2 * 20 + 4 * 2  # the hull, two pixels on each side, two in each corner


def test_pixels_that_are_not_kept_have_one_grey_in_all_images(lungs):
    images = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE), dtype=np.uint8)
    both = np.stack([lungs, lungs])
    before = images.copy()
    for control in CONTROLS:
        altered, kept = alter_images(images, both, control, grey=77), keep_pixels(control, lungs)
        assert (altered[:, kept] == images[:, kept]).all()
        assert (altered[:, ~kept] == 77).all()
    assert (images == before).all()
