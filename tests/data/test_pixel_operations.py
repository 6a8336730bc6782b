"""Grey values by hand: a flat image shows what an operation does to a level, a point what it does to neighbours."""

import numpy as np
import pytest

from covbench.data import pixel_operations as operations

FLAT = np.full((16, 16), 100, np.uint8)
POINT = np.zeros((5, 5), np.uint8)
POINT[2, 2] = 90


def apply_often(operation, image, times=200):
    return np.stack([operation(image, np.random.default_rng(seed)) for seed in range(times)])


@pytest.mark.parametrize(
    ("operation", "low", "high"),
    [
        (operations.brighten, 80, 120),  # the mean is 100
        (operations.bend, 255 * (100 / 255) ** 1.2, 255 * (100 / 255) ** 0.8),
        (operations.change_contrast, 80, 120),
        (operations.shift_value, 80, 120),
    ],
)
def test_a_level_moves_within_the_library_s_range_and_fills_it(operation, low, high):
    found = apply_often(operation, FLAT)[:, 0, 0].astype(int)
    assert low - 1 <= found.min() < low + (high - low) / 10
    assert high - (high - low) / 10 < found.max() <= high


def test_blur_spreads_a_point_over_nine_pixels():
    assert np.array_equal(operations.blur(POINT, np.random.default_rng(0))[1:4, 1:4], np.full((3, 3), 10))


def test_a_moving_point_leaves_a_line_of_two_or_three_pixels_with_the_same_sum():
    for blurred in apply_often(operations.blur_motion, POINT, 50):
        assert np.count_nonzero(blurred) in (2, 3)
        assert blurred.sum() == 90


def test_sharpening_leaves_flat_parts_nearly_alone_and_raises_edges():
    flat = apply_often(operations.sharpen, FLAT)[:, 8, 8].astype(int)
    assert flat.min() >= 75  # a lightness below 1 darkens: 1 - share + share * lightness
    assert flat.max() <= 101
    assert (apply_often(operations.sharpen, POINT)[:, 2, 2] > 90).all()


def test_noise_has_a_spread_of_one_to_five_percent():
    spreads = apply_often(operations.add_noise, np.full((64, 64), 128, np.uint8), 50).std(axis=(1, 2))
    assert 0.01 * 255 * 0.9 < spreads.min() < spreads.max() < 0.05 * 255 * 1.1


def test_local_equalisation_raises_contrast():
    ramp = np.tile(np.linspace(100, 120, 64).astype(np.uint8), (64, 1))
    assert (apply_often(operations.equalise, ramp, 10).std(axis=(1, 2)) >= ramp.std()).all()


def test_one_operation_of_a_choice_is_applied_with_its_probability():
    marks = [lambda image, _, value=value: image * 0 + np.uint8(value) for value in (1, 2)]
    shown = [operations.apply_choices(POINT, [(0.9, marks)], np.random.default_rng(seed))[0, 0] for seed in range(2000)]
    assert np.bincount(shown, minlength=3) / 2000 == pytest.approx([0.1, 0.45, 0.45], abs=0.03)
