"""Find the lungs on an axial CT slice by thresholding. This is good enough for a baseline, not for a measurement."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

WORK_SIDE = 128  # pixels at which regions are found: fast, and vessels are gone
CLOSING = 6  # of 128 pixels; closes a lung's outline over vessels and consolidation at its rim
SMALLEST_REGION = 0.006  # of the image
CORNER = 4  # of 128 pixels


def find_lungs(image: np.ndarray) -> np.ndarray:
    """Find the dark regions inside the body, with holes filled and outlines closed.

    Dark means below Otsu's threshold. A dark region that reaches a corner is air around the body, or padding.

    image: uint8, (H, W), 0-255 grey, one slice in the lung window, whole or cropped to the lungs. Returns bool, (H, W).
    """
    small = cv2.resize(np.ascontiguousarray(image), (WORK_SIDE, WORK_SIDE), interpolation=cv2.INTER_AREA)
    if small.min() == small.max():
        return np.zeros(image.shape, bool)
    dark = ndimage.median_filter(small, 3) <= threshold_otsu(small)
    labels, count = ndimage.label(dark)
    outside = _labels_at_corners(labels)
    found = np.zeros(small.shape, bool)
    for number in set(range(1, count + 1)) - outside:
        region = labels == number
        if region.mean() >= SMALLEST_REGION:
            found |= _close(region)
    height, width = image.shape
    return cv2.resize(found.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST).astype(bool)


def _labels_at_corners(labels: np.ndarray) -> set[int]:
    ends = (slice(None, CORNER), slice(-CORNER, None))
    return {int(number) for rows in ends for columns in ends for number in np.unique(labels[rows, columns])} - {0}


def _close(region: np.ndarray) -> np.ndarray:
    """Close a region by a disc of radius CLOSING and fill its holes. Pixels beyond the image count as background."""
    padded = np.pad(region, CLOSING + 1)
    grown = ndimage.distance_transform_edt(~padded) <= CLOSING
    closed = ndimage.distance_transform_edt(ndimage.binary_fill_holes(grown)) > CLOSING
    inner = closed[CLOSING + 1 : -CLOSING - 1, CLOSING + 1 : -CLOSING - 1]
    return inner | region
