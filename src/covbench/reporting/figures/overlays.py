"""Pictures of cases: images, class masks and error overlays, written as PNG with Pillow.

Overlay colours are the study's: true positives yellow, false positives red, false negatives green.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from matplotlib import colormaps
from PIL import Image
from scipy import ndimage

CLASS_COLOURS = ((86, 180, 233), (230, 159, 0), (204, 121, 167), (0, 158, 115), (213, 94, 0), (0, 114, 178))
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = (255, 221, 0), (226, 26, 28), (0, 200, 70)

HEAT = 0.7
"""Opacity of a map where it is largest."""


def colour_masks(image: np.ndarray, mask: np.ndarray, strength: float = 0.55) -> np.ndarray:
    """The image with each class except 0 tinted.

    Args:
        image: Grey image, uint8, (H, W), 0-255.
        mask: Class numbers, uint8, (H, W).
        strength: Weight of the tint, 0-1.

    Returns:
        The picture, uint8, (H, W, 3), 0-255.
    """
    picture = np.repeat(image[..., None], 3, axis=2).astype(np.float32)
    for number in range(1, int(mask.max()) + 1):
        picture = _tint(picture, mask == number, CLASS_COLOURS[(number - 1) % len(CLASS_COLOURS)], strength)
    return picture.round().astype(np.uint8)


def overlay_errors(image: np.ndarray, truth: np.ndarray, predicted: np.ndarray, strength: float = 0.6) -> np.ndarray:
    """The image with true positives yellow, false positives red and false negatives green.

    Args:
        image: Grey image, uint8, (H, W), 0-255.
        truth: True mask, bool, (H, W).
        predicted: Predicted mask, bool, (H, W).
        strength: Weight of the tint, 0-1.

    Returns:
        The picture, uint8, (H, W, 3), 0-255.
    """
    picture = np.repeat(image[..., None], 3, axis=2).astype(np.float32)
    picture = _tint(picture, truth & predicted, TRUE_POSITIVE, strength)
    picture = _tint(picture, ~truth & predicted, FALSE_POSITIVE, strength)
    picture = _tint(picture, truth & ~predicted, FALSE_NEGATIVE, strength)
    return picture.round().astype(np.uint8)


def overlay_heat(image: np.ndarray, found: np.ndarray, outlines: Iterable[np.ndarray]) -> np.ndarray:
    """The image with a map over it, warmer and more opaque where it is larger, and with the outlines of masks.

    Args:
        image: Grey image, uint8, (H, W), 0-255.
        found: The map, uint8, (h, w), 0-255.
        outlines: Masks, bool, (H, W), each in the next of CLASS_COLOURS.

    Returns:
        The picture, uint8, (H, W, 3), 0-255.
    """
    large = cv2.resize(found, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    warm = colormaps["inferno"](large)[..., :3] * 255
    opaque = HEAT * large[..., None] / 255
    picture = (1 - opaque) * image[..., None] + opaque * warm
    for mask, colour in zip(outlines, CLASS_COLOURS, strict=False):
        picture[mask & ~ndimage.binary_erosion(mask)] = colour
    return picture.round().astype(np.uint8)


def _tint(picture: np.ndarray, where: np.ndarray, colour: tuple[int, int, int], strength: float) -> np.ndarray:
    tinted = (1 - strength) * picture + strength * np.array(colour, dtype=np.float32)
    return np.where(where[..., None], tinted, picture)


def save_picture(path: Path, picture: np.ndarray, side: int) -> None:
    """Write a picture as PNG, shrunk if it is too large.

    Args:
        path: The PNG file; its folder is made if necessary.
        picture: uint8, (H, W) or (H, W, 3), 0-255.
        side: Pixels of the longer side, at most.
    """
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.BILINEAR)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, optimize=False)


def choose_spread(values: Iterable[float], number: int) -> list[int]:
    """Positions of `number` defined values, evenly spaced in rank from the lowest to the highest."""
    values = np.asarray(list(values), dtype=float)
    ranked = np.argsort(values, kind="stable")[: int(np.isfinite(values).sum())]
    if len(ranked) <= number:
        return [int(position) for position in ranked]
    return [int(ranked[position]) for position in np.linspace(0, len(ranked) - 1, number).round().astype(int)]
