"""Find the lungs on a frontal chest X-ray from their place and their darkness. No training, and no measurement."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

SIDE = 128  # pixels at which the lungs are found
ROW, COLUMNS = 0.47, (0.29, 0.71)
HALF_HEIGHT, HALF_WIDTH = 0.34, 0.17
"""Centres and half axes of an ellipse per lung, as shares of the image."""
NEIGHBOURHOOD = 24.0  # pixels: standard deviation of the Gaussian that says what dark is around here
FLATTEST = 5.0  # grey levels: a smaller spread is noise
PULL = 10.0  # standard deviations of grey that a pixel as far as the image is wide must be darker to be lung
SMALLEST_PART, LEAST_INSIDE = 0.02, 0.3


def find_xray_lungs(image: np.ndarray) -> np.ndarray:
    """Find both lungs. A pixel is lung if it is dark for its neighbourhood; the farther from two ellipses, the darker.

    The ellipses are where lungs usually lie. Contrast is equalised in tiles first (CLAHE, Zuiderveld 1994).
    docs/explanation/controls.md says how good this is.

    image: uint8, (H, W), 0-255 grey, a frontal view. Returns bool, (H, W).
    """
    height, width = image.shape
    small = cv2.resize(np.ascontiguousarray(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.createCLAHE(2.0, (4, 4)).apply(small).astype(np.float64)
    grey = ndimage.gaussian_filter(grey, 2)
    around = ndimage.gaussian_filter(grey, NEIGHBOURHOOD)
    spread = np.sqrt(ndimage.gaussian_filter((grey - around) ** 2, NEIGHBOURHOOD)) + FLATTEST
    usual = _draw_ellipses()
    inside = ndimage.distance_transform_edt(usual) - ndimage.distance_transform_edt(~usual)
    darkness = (around - grey) / spread + PULL * inside / SIDE
    found = _clean(ndimage.median_filter(darkness, 5) > 0, usual)
    return cv2.resize(found.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)


def _draw_ellipses() -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    halves = [((y - ROW) / HALF_HEIGHT) ** 2 + ((x - column) / HALF_WIDTH) ** 2 < 1 for column in COLUMNS]
    return np.asarray(halves[0] | halves[1])


def _clean(lungs: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Keep large parts that lie where lungs do, close their outlines and fill their holes."""
    labels, count = ndimage.label(ndimage.binary_opening(lungs, iterations=2))
    kept = np.zeros_like(lungs)
    for number in range(1, count + 1):
        part = labels == number
        if part.mean() > SMALLEST_PART and usual[part].mean() > LEAST_INSIDE:
            kept |= part
    closed = ndimage.binary_closing(np.pad(kept, 8), iterations=4)[8:-8, 8:-8]
    return np.asarray(ndimage.binary_fill_holes(closed))
