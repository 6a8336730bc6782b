"""Compare two thumbnails at half the size, window by window, to drop pairs before they are aligned."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from covbench.audit.alignment import COARSE, SIDE, WHOLE, Box, move_image, start_at

HALF, WINDOW, SHIFT = SIDE // 2, 16, 3
"""Side of a thumbnail at half the size, side of a window in it, and how far a window is shifted, in its pixels."""
GRAIN = 0.7
"""Detail finer than this, in its pixels, is left out, so that a shift by whole pixels is close enough."""
PLACE = 3
"""The window that decides: the third most alike of 16. Strokes and blank parts may spoil the others."""
TINY = 1e-3
"""Keeps the correlation of a window without detail near 0."""


def search_windows(image: np.ndarray, target: np.ndarray, box: Box = WHOLE) -> float:
    """Correlate the windows of two images at half the size, at the shift at which some of them fit best.

    Some windows of two duplicates fit at the same shift, even if the whole is stretched or turned a little. Nothing is
    aligned, so strokes spoil only the windows that they touch.

    Args:
        image: uint8, (SIDE, SIDE), 0-255 grey.
        target: uint8, (SIDE, SIDE), 0-255 grey.
        box: the part of the target that the image is assumed to show (top, left, bottom, right as shares).

    Returns:
        Correlation of the window at PLACE, at the best shift. A window that shows nothing has about 0.
    """
    one = _cut_windows(_keep_half_detail(image), WINDOW)
    two = np.pad(_keep_half_detail(move_image(target, start_at(box))), SHIFT)
    shifted = sliding_window_view(_cut_windows(two, WINDOW + 2 * SHIFT), (WINDOW, WINDOW), axis=(2, 3))
    count = len(one) ** 2
    one = one.reshape(count, WINDOW**2, 1)
    covariance = (shifted.reshape(count, -1, WINDOW**2) @ one)[:, :, 0]
    energy = cv2.boxFilter(two * two, -1, (WINDOW, WINDOW), anchor=(0, 0), normalize=False)
    energies = np.maximum(_cut_windows(energy, 1 + 2 * SHIFT).reshape(count, -1), 0)
    correlation = covariance / np.sqrt(energies * (one * one).sum(axis=1) + TINY)
    return float(np.sort(correlation, axis=0)[-PLACE].max())


def _cut_windows(detail: np.ndarray, side: int) -> np.ndarray:
    """Cut a window of side x side pixels every WINDOW pixels: a view, float32, (windows, windows, side, side)."""
    return sliding_window_view(detail, (side, side))[:HALF:WINDOW, :HALF:WINDOW]


def _keep_half_detail(image: np.ndarray) -> np.ndarray:
    """Keep detail between GRAIN and COARSE of an image at half the size: float32, (HALF, HALF)."""
    half = cv2.resize(image, (HALF, HALF), interpolation=cv2.INTER_AREA).astype(np.float32)
    return cv2.GaussianBlur(half, (0, 0), GRAIN) - cv2.GaussianBlur(half, (0, 0), COARSE / 2)
