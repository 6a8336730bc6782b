"""Bring images to the square of a network's input, and masks to the grid of their image and back."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from covbench.data.images import resize_image


def _resize_linear(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR))


def _resize_nearest(image: np.ndarray, size: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.NEAREST))


RESIZES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "antialias": resize_image,
    "linear": _resize_linear,  # as cv2.resize: the four nearest pixels, even if many more are merged
    "nearest": _resize_nearest,  # as Keras's flow_from_directory
}
"""Name -> function that squashes an image, uint8, (H, W), to a square, (size, size)."""


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Squash class numbers, uint8, (H, W), to (size, size) by majority, on the grid of its squashed image.

    Each class is squashed as resize_image squashes an image, and a new pixel gets the class with the largest share. Of
    two equal shares the higher class number wins, so that background never wins a tie against a thin lesion.
    """
    numbers = np.unique(mask)[::-1]
    shares = [resize_image((mask == number).astype(np.float32), size) for number in numbers]
    return np.asarray(numbers[np.argmax(shares, axis=0)])


def restore_mask(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bring squashed class numbers, uint8, (h, w), back to their stored grid, (H, W): the nearest pixel's class."""
    return np.asarray(Image.fromarray(mask).resize(shape[::-1], Image.Resampling.NEAREST))
