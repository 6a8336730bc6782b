"""How far the outlines of two masks lie apart, in two or three dimensions, by the definitions of DeepMind.

The surface elements, their areas and the summaries are those of the library surface-distance (Nikolov et al. 2021,
J. Med. Internet Res. 23:e26151). Its own search for distances is replaced: it computes a distance for every voxel,
which takes minutes for a volume, and it calls functions that NumPy 2 no longer has. Here each surface element looks for
its nearest one on the other surface.
"""

from __future__ import annotations

import numpy as np
import surface_distance
from scipy import ndimage
from scipy.spatial import KDTree
from surface_distance import lookup_tables

from covbench.evaluation.metrics.columns import SURFACES, TOLERANCES


def score_surfaces(true: np.ndarray, predicted: np.ndarray, spacing: np.ndarray) -> dict[str, float]:
    """Score how well two outlines agree.

    Args:
        true: bool, (H, W) or (N, H, W).
        predicted: bool, of the same shape.
        spacing: millimetres along each axis, float64, (D,).

    Returns:
        By name of SURFACES: the share of both surfaces that lies within each tolerance of the other one, the
        larger of the two 95 % quantiles of distances, and the mean distance over both surfaces, in millimetres. As in
        the library, distances are infinite if a mask is empty, and the share is then 0, or NaN if both are empty.
    """
    if not (true.any() and predicted.any()):
        share = 0.0 if true.any() or predicted.any() else np.nan
        return dict.fromkeys(SURFACES, np.inf) | dict.fromkeys(SURFACES[: len(TOLERANCES)], share)
    found = measure_distances(true, predicted, spacing)
    shares = [surface_distance.compute_surface_dice_at_tolerance(found, tolerance) for tolerance in TOLERANCES]
    sides = surface_distance.compute_average_surface_distance(found)
    areas = [found[name].sum() for name in ("surfel_areas_gt", "surfel_areas_pred")]
    values = [*shares, surface_distance.compute_robust_hausdorff(found, 95), np.average(sides, weights=areas)]
    return {name: float(value) for name, value in zip(SURFACES, values, strict=True)}


def measure_distances(true: np.ndarray, predicted: np.ndarray, spacing: np.ndarray) -> dict[str, np.ndarray]:
    """Measure the distance of each surface element of two masks from the nearest one of the other mask.

    Args:
        true: bool, (H, W) or (N, H, W), not empty.
        predicted: bool, of the same shape, not empty.
        spacing: millimetres along each axis, float64, (D,).

    Returns:
        What surface_distance.compute_surface_distances returns: distances in millimetres with the lengths or areas of
        their surface elements, sorted, float64, (S,), for each mask.
    """
    points, areas = zip(*(find_surface(mask, spacing) for mask in (true, predicted)), strict=True)
    found: dict[str, np.ndarray] = {}
    for side, (here, there) in {"gt_to_pred": (0, 1), "pred_to_gt": (1, 0)}.items():
        nearest = KDTree(points[there] * spacing).query(points[here] * spacing)[1]
        distances = np.sqrt((((points[here] - points[there][nearest]) * spacing) ** 2).sum(axis=1))
        order = np.lexsort((areas[here], distances))
        found[f"distances_{side}"] = distances[order]
        found[f"surfel_areas_{side.partition('_')[0]}"] = areas[here][order]
    return found


def find_surface(mask: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the surface elements of a mask: between pixels of which some but not all belong to it.

    Args:
        mask: bool, (H, W) or (N, H, W).
        spacing: millimetres along each axis, float64, (D,).

    Returns:
        The corners of pixels that hold an element, int64, (S, D), and the length or area of each, float64, (S,).
    """
    kernel, measure = {
        2: (lookup_tables.ENCODE_NEIGHBOURHOOD_2D_KERNEL, lookup_tables.create_table_neighbour_code_to_contour_length),
        3: (lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL, lookup_tables.create_table_neighbour_code_to_surface_area),
    }[mask.ndim]
    codes = ndimage.correlate(np.pad(mask, (0, 1)).astype(np.uint8), kernel, mode="constant")
    inside = (codes != 0) & (codes != kernel.sum())
    return np.argwhere(inside), measure(spacing)[codes[inside]]
