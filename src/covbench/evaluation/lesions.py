"""Which lesions are found: connected parts of the annotated mask, matched with those of the predicted one."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

LEAST_IOU = 0.1


def score_detection(true: np.ndarray, predicted: np.ndarray) -> float:
    """Score the detection of lesions: 2·matched / (annotated + predicted lesions).

    A lesion is a connected part of a mask, pixels that touch at a corner included. An annotated and a predicted lesion
    can be matched if their intersection is LEAST_IOU of their union or more. Of all ways to match each lesion at most
    once, the one with the largest sum of these ratios is taken, as Metrics Reloaded recommends where predictions have
    no confidence (Maier-Hein et al. 2024, Nat. Methods 21:195).

    Args:
        true: bool, (H, W) or (N, H, W).
        predicted: bool, of the same shape.

    Returns:
        0-1; NaN if neither mask holds a lesion.
    """
    corners = np.ones((3,) * true.ndim)
    (ours, many), (theirs, others) = (ndimage.label(mask, corners) for mask in (true, predicted))
    if not many + others:
        return np.nan
    return 2 * count_matches(compare_parts(ours, theirs)) / (many + others)


def compare_parts(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Compute intersection over union of every two parts of two masks.

    ours, theirs: integers, of one shape, the number of each pixel's part from 1 on, 0 outside. Returns float64, (A, B).
    """
    one, other = (np.bincount(parts[parts > 0], minlength=1) for parts in (ours, theirs))
    both = (ours > 0) & (theirs > 0)
    pairs = ours[both].astype(np.int64) * len(other) + theirs[both]
    shared = np.bincount(pairs, minlength=len(one) * len(other)).reshape(len(one), len(other))
    iou: np.ndarray = (shared / np.maximum(one[:, None] + other - shared, 1))[1:, 1:]
    return iou


def count_matches(iou: np.ndarray) -> int:
    """Count the pairs of the best matching. iou: float64, (A, B), 0-1."""
    close = np.where(iou >= LEAST_IOU, iou, 0)
    close = close[close.any(axis=1)][:, close.any(axis=0)]
    return int(np.count_nonzero(close[linear_sum_assignment(close, maximize=True)]))
