"""Shortcut controls: the same images without the lungs, or with the lungs, the border or the centre alone."""

from __future__ import annotations

import cv2
import numpy as np
from skimage.morphology import convex_hull_image

CONTROLS = {
    "lungs_out": "all but the convex hull of both lungs with a margin",
    "lungs_only": "the lungs alone",
    "border_only": "the border alone",
    "centre_only": "all but the border",
}
"""Control -> the pixels that it keeps."""
LUNG_CONTROLS = ("lungs_out", "lungs_only")
"""They leave out images in which no lungs were found."""
BORDER = 1 / 8  # of the side
MARGIN = 1 / 20  # of the side


def keep_pixels(control: str, lungs: np.ndarray) -> np.ndarray:
    """Choose the pixels that a control keeps.

    Both lungs go with all that lies between them and with a margin, so that neither a part that the mask has missed nor
    the outline of the mask remains: a mask often misses what is ill.

    control: a name of CONTROLS. lungs: bool, (H, W), with lungs for LUNG_CONTROLS. Returns bool, (H, W).
    """
    if control == "lungs_out":
        return ~_grow(convex_hull_image(lungs))
    if control == "lungs_only":
        return lungs
    centre = np.zeros(lungs.shape, bool)
    rows, columns = (slice(round(BORDER * side), side - round(BORDER * side)) for side in lungs.shape)
    centre[rows, columns] = True
    return centre if control == "centre_only" else ~centre


def _grow(area: np.ndarray) -> np.ndarray:
    radius = round(MARGIN * max(area.shape))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(area.astype(np.uint8), disc).astype(bool)


def alter_images(images: np.ndarray, lungs: np.ndarray, control: str, grey: int) -> np.ndarray:
    """Alter images as a control asks.

    Args:
        images: uint8, (N, H, W), 0-255 grey.
        lungs: bool, (N, H, W).
        control: a name of CONTROLS.
        grey: what takes the place of the pixels that are not kept, 0-255: the same in all images, so that it says
            nothing about any of them.

    Returns:
        uint8, (N, H, W).
    """
    altered = np.full_like(images, grey)
    for image, lung, new in zip(images, lungs, altered, strict=True):
        kept = keep_pixels(control, lung)
        new[kept] = image[kept]
    return altered
