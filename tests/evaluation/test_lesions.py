"""Lesions are connected parts of a mask. How many are found is counted by hand."""

import numpy as np
import pytest

from covbench.evaluation.lesions import compare_parts, count_matches, score_detection


def read(*rows):
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_a_lesion_is_found_if_a_tenth_of_the_union_is_shared():
    true = read("##########..", "............", "##########..")
    found = read("#...........", "............", "#########...")
    assert score_detection(true, found) == 1  # 1 of 10 and 9 of 10 pixels: both match
    found[0, 11] = True  # a third predicted lesion, beside the annotated ones
    assert score_detection(true, found) == pytest.approx(2 * 2 / (2 + 3))


def test_a_smaller_overlap_is_no_match():
    true = read("###########", "...........")
    found = read("#..........", "...........")
    assert score_detection(true, found) == 0  # 1 of 11 pixels


def test_each_lesion_is_matched_once_and_the_best_pairs_are_taken():
    # one annotation over two predictions: 3 of 7 and 3 of 7 pixels; only one of them counts
    true, found = read("#######"), read("###.###")
    assert score_detection(true, found) == pytest.approx(2 / 3)
    # the first annotation overlaps both predictions, and has to leave the one that the second needs
    assert count_matches(np.array([[0.5, 0.4], [0.3, 0.0]])) == 2


def test_pixels_that_touch_at_a_corner_are_one_lesion_in_two_and_three_dimensions():
    diagonal = np.eye(4, dtype=bool)
    assert score_detection(diagonal, diagonal) == 1
    volume = np.zeros((2, 2, 2), bool)
    volume[0, 0, 0] = volume[1, 1, 1] = True
    assert compare_parts(volume.astype(int), volume.astype(int)).tolist() == [[1.0]]
    only = np.zeros_like(volume)
    only[0, 0, 0] = True
    assert score_detection(volume, only) == 1  # 1 of 2 voxels of one lesion


def test_empty_masks_have_no_lesion_to_find():
    nothing, something = np.zeros((3, 3), bool), np.eye(3, dtype=bool)
    assert np.isnan(score_detection(nothing, nothing))
    assert score_detection(something, nothing) == score_detection(nothing, something) == 0
