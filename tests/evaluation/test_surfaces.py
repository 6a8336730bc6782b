"""Outlines of two masks, against the library surface-distance and against distances worked out by hand."""

import numpy as np
import pytest
import surface_distance
from scipy import ndimage

from covbench.evaluation.surfaces import score_surfaces


@pytest.fixture
def library(monkeypatch):
    """The library's own search for distances, with the names that NumPy 2 and SciPy no longer have."""
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)
    monkeypatch.setattr(ndimage, "filters", ndimage, raising=False)
    monkeypatch.setattr(ndimage, "morphology", ndimage, raising=False)
    return surface_distance


def draw_masks(rng, dimensions):
    """Two masks of smooth random shapes that may touch the border; each is empty in one of ten draws."""
    shape = tuple(rng.integers(4, 24, dimensions))
    fields = [ndimage.gaussian_filter(rng.normal(size=shape), 1.2) for _ in range(2)]
    return [field > (np.inf if rng.random() < 0.1 else rng.choice([0.0, 0.2])) for field in fields]


def test_surface_dice_and_hd95_are_those_of_the_library_on_random_masks(library):
    rng = np.random.default_rng(7)
    empty = 0
    for number in range(100):
        masks = draw_masks(rng, 2 + number % 2)
        spacing = rng.uniform(0.4, 5, 2 + number % 2)
        ours = score_surfaces(*masks, spacing)
        found = library.compute_surface_distances(*masks, spacing)
        theirs = {f"surface_dice_{mm}mm": library.compute_surface_dice_at_tolerance(found, mm) for mm in (1, 3)}
        theirs["hd95"] = library.compute_robust_hausdorff(found, 95)
        np.testing.assert_allclose([ours[name] for name in theirs], list(theirs.values()), rtol=1e-12)
        empty += not all(mask.any() for mask in masks)
    assert 5 < empty < 40


def test_distances_of_two_squares_are_worked_out_by_hand():
    one, other = np.zeros((12, 12), bool), np.zeros((12, 12), bool)
    one[2:6, 2:6] = other[2:6, 5:9] = True  # three columns of 2 mm aside: 6 mm
    scores = score_surfaces(one, other, np.array([1.0, 2.0]))
    assert scores["hd95"] == pytest.approx(6)
    assert 0 < scores["surface_dice_1mm"] < scores["surface_dice_3mm"] < 1
    same = score_surfaces(one, one, np.array([1.0, 2.0]))
    assert same == {"surface_dice_1mm": 1, "surface_dice_3mm": 1, "hd95": 0, "assd": 0}


def test_the_mean_distance_weighs_surfaces_by_their_length(library):
    one, other = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    one[4:24, 4:24] = other[10:12, 10:12] = True
    spacing = np.array([0.5, 1.5])
    found = library.compute_surface_distances(one, other, spacing)
    sums = (found["distances_gt_to_pred"] * found["surfel_areas_gt"]).sum()
    sums += (found["distances_pred_to_gt"] * found["surfel_areas_pred"]).sum()
    areas = found["surfel_areas_gt"].sum() + found["surfel_areas_pred"].sum()
    assert score_surfaces(one, other, spacing)["assd"] == pytest.approx(sums / areas)
