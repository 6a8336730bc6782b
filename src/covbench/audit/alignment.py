"""Align two thumbnails and correlate their fine detail, whole and block by block."""

from __future__ import annotations

import cv2
import numpy as np

Box = tuple[float, float, float, float]
"""Part of an image, as shares of it in the order top, left, bottom, right."""
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)

SIDE = 128
"""Side of a thumbnail, in pixels."""
FINE, COARSE = 1.0, 4.0
"""Scales of the detail that is compared, in pixels of a thumbnail.

Detail between them is coarser than grain and moiré, and finer than the outline of a chest.
"""
SQUARE, SQUARES = 8, 64
"""Side of a block in pixels of a thumbnail, and the smallest number of blocks that is compared."""
FAINT = 1.0
"""Standard deviation of the fine detail, in grey levels, below which a block shows nothing to compare."""
OVERLAP = 0.5
"""Smallest share of the thumbnail on which two aligned images must overlap to be compared."""


LOOK_UP = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
"""Each pixel of the result is looked up where the transform places it."""


def start_at(box: Box) -> np.ndarray:
    """Transform of an image onto a box of another: float32, (2, 3), in pixels of a thumbnail."""
    top, left, bottom, right = box
    return np.array([[right - left, 0, left * SIDE], [0, bottom - top, top * SIDE]], np.float32)


def move_image(target: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """Show what a transform, float32, (2, 3), takes from an image, uint8, (SIDE, SIDE). Its edges are continued."""
    return cv2.warpAffine(target, transform, (SIDE, SIDE), flags=LOOK_UP, borderMode=cv2.BORDER_REPLICATE)


def align_detail(
    image: np.ndarray, target: np.ndarray, box: Box = WHOLE, refine: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Align `target` with `image` and return the fine detail of both where they overlap.

    ECC (Evangelidis and Psarakis 2008) refines an affine transform on detail below COARSE, starting from `box`.

    Args:
        image: uint8, (SIDE, SIDE), 0-255 grey.
        target: uint8, (SIDE, SIDE), 0-255 grey.
        box: the part of the target that the image is assumed to show (top, left, bottom, right as shares).
        refine: whether ECC refines the transform. If not, `box` alone decides it.

    Returns:
        The fine detail of the image and of the aligned target, float32, (SIDE, SIDE), and where they overlap without
        the rim, bool, (SIDE, SIDE). None if no alignment is found or the overlap is below OVERLAP.
    """
    image, target = np.ascontiguousarray(image), np.ascontiguousarray(target)
    transform = start_at(box)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
    everywhere = np.full_like(image, 255)
    try:
        if refine:
            details = _keep_detail(image), _keep_detail(target)
            cv2.findTransformECC(*details, transform, cv2.MOTION_AFFINE, stop, everywhere, 3)
    except cv2.error:
        return None
    moved = move_image(target, transform)
    inside = cv2.warpAffine(everywhere, transform, (SIDE, SIDE), flags=LOOK_UP)
    inside = cv2.erode(inside, np.ones((7, 7), np.uint8), borderValue=0) == 255
    return (_keep_detail(image, FINE), _keep_detail(moved, FINE), inside) if inside.mean() >= OVERLAP else None


def correlate_whole(one: np.ndarray, two: np.ndarray, inside: np.ndarray) -> float:
    """Correlate the fine detail of two aligned images over their whole overlap.

    Args:
        one: float32, (SIDE, SIDE), as align_detail returns it.
        two: float32, (SIDE, SIDE), as align_detail returns it.
        inside: bool, (SIDE, SIDE), where they overlap.

    Returns:
        Pearson correlation; 0 if one of them shows nothing.
    """
    one, two = one[inside], two[inside]
    return float(np.corrcoef(one, two)[0, 1]) if one.std() > 0 and two.std() > 0 else 0.0


def correlate_blocks(one: np.ndarray, two: np.ndarray, inside: np.ndarray) -> float:
    """Correlate the fine detail of two aligned images block by block.

    An annotation spoils the blocks that it touches. Blocks that leave the overlap, and blocks of which an image shows
    less than FAINT, do not count.

    Args:
        one: float32, (SIDE, SIDE), as align_detail returns it.
        two: float32, (SIDE, SIDE), as align_detail returns it.
        inside: bool, (SIDE, SIDE), where they overlap.

    Returns:
        Median of the blocks' Pearson correlations; 0 if fewer than SQUARES blocks count.
    """
    mean, other_mean = _average_squares(one), _average_squares(two)
    spread = np.sqrt(np.maximum(_average_squares(one * one) - mean**2, 0))
    other_spread = np.sqrt(np.maximum(_average_squares(two * two) - other_mean**2, 0))
    counts = (_average_squares(inside.astype(np.float32)) > 1 - 1e-4) & (np.minimum(spread, other_spread) >= FAINT)
    if counts.sum() < SQUARES:
        return 0.0
    covariance = _average_squares(one * two) - mean * other_mean
    return float(np.median(covariance[counts] / (spread * other_spread)[counts]))


def _average_squares(detail: np.ndarray) -> np.ndarray:
    """Mean of each block of SQUARE x SQUARE pixels of a float32 array, (SIDE, SIDE): float32, (blocks, blocks)."""
    return cv2.resize(detail, (SIDE // SQUARE, SIDE // SQUARE), interpolation=cv2.INTER_AREA)


def _keep_detail(image: np.ndarray, grain: float = 0.0) -> np.ndarray:
    """Keep detail that is finer than COARSE and coarser than `grain` pixels: float32, (SIDE, SIDE)."""
    image = image.astype(np.float32)
    fine = cv2.GaussianBlur(image, (0, 0), grain) if grain else image
    return fine - cv2.GaussianBlur(image, (0, 0), COARSE)
