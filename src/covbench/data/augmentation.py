"""Augment images with one warp each and a few cheap pixel operations, by numpy and OpenCV without TensorFlow.

The result depends only on (seed, epoch, image). It does not depend on the batch size, on the number of workers or on
where training resumed.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from covbench.data.pixel_operations import STUDY_CLASSES, STUDY_LESIONS, Operation, apply_choices

cv2.setNumThreads(0)


@dataclass(frozen=True)
class Augmentation:
    """Ranges of a random transformation.

    rotation: degrees in either direction.
    shift: fraction of the side in either direction.
    shear: degrees in either direction.
    zoom: fraction in either direction.
    stretch: as zoom, but drawn for each axis on its own, as Keras's ImageDataGenerator does.
    crop: smallest side of a random square window, as a fraction of the side; 1 for no crop.
    flip, noise, blur, sharpen: probabilities.
    brightness: fraction of 255 in either direction.
    contrast: fraction in either direction.
    perspective: probability of a random perspective.
    choices: further operations, as data.pixel_operations.apply_choices takes them.
    """

    rotation: float = 0.0
    shift: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    stretch: float = 0.0
    crop: float = 1.0
    flip: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    sharpen: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    perspective: float = 0.0
    choices: tuple[tuple[float, Sequence[Operation]], ...] = ()


AUGMENTATIONS = {
    "none": Augmentation(),
    "rotation": Augmentation(rotation=15),
    "affine": Augmentation(rotation=20, shift=0.2, shear=0.2, stretch=0.2, flip=0.5),
    "segmentation": Augmentation(crop=0.8, flip=0.5, shift=0.1, zoom=0.5, noise=0.2, blur=0.1, sharpen=0.1),
    "study_lesions": Augmentation(flip=0.5, shift=0.1, zoom=0.5, perspective=0.5, choices=STUDY_LESIONS),
    "study_classes": Augmentation(flip=0.5, shift=0.1, zoom=0.5, choices=STUDY_CLASSES),
    "mild": Augmentation(rotation=10, shift=0.05, zoom=0.1, brightness=0.1, contrast=0.1),
}
# The study passes shear 0.2 and zoom 0.2 to Keras's ImageDataGenerator, which takes the first as degrees.

PERSPECTIVE = (0.05, 0.1)  # range of the standard deviation of a corner, as a fraction of the side
_LEVELS = np.arange(256, dtype=np.uint8)
_SHARPEN = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float32)


def image_key(image_id: str, copy: int) -> int:
    """Return a number that identifies an image, or one of its augmented copies, wherever and whenever it is loaded."""
    return zlib.crc32(f"{image_id}#{copy}".encode())


def augment(
    image: np.ndarray, mask: np.ndarray | None, augmentation: Augmentation, key: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Transform an image, and its mask by the same warp.

    Args:
        image: uint8, (H, W), 0-255 grey.
        mask: uint8, (H, W), class numbers, warped to the nearest pixel and filled with 0; or None.
        augmentation: the ranges to draw from.
        key: (seed, epoch, image_key), which decides the transformation.

    Returns:
        The transformed image, and the transformed mask or None, with the dtype and shape of the arguments.
    """
    if augmentation == AUGMENTATIONS["none"]:
        return image, mask
    rng = np.random.default_rng(key)
    matrix = draw_warp(augmentation, image.shape[0], image.shape[1], rng)
    size = image.shape[::-1]
    fill = cv2.BORDER_CONSTANT if mask is not None else cv2.BORDER_REPLICATE
    warp = cv2.warpAffine
    if augmentation.perspective and rng.random() < augmentation.perspective:
        warp, matrix = (
            cv2.warpPerspective,
            np.vstack([matrix, [0, 0, 1]]) @ draw_perspective(image.shape[0], image.shape[1], rng),
        )
    warped = warp(image, matrix, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=fill)
    if mask is not None:
        mask = warp(mask, matrix, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return apply_choices(_change_pixels(warped, augmentation, rng), augmentation.choices, rng), mask


def draw_warp(augmentation: Augmentation, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a random affine map about the centre of an image.

    Args:
        augmentation: the ranges to draw from.
        height: H, height of the image in pixels.
        width: W, width of the image in pixels.
        rng: the generator to draw from.

    Returns:
        The map from output to input pixels: float64, (2, 3).
    """
    a = augmentation
    angle, shear = np.deg2rad(rng.uniform(-a.rotation, a.rotation)), np.deg2rad(rng.uniform(-a.shear, a.shear))
    scale = 1 / rng.uniform(1 - a.zoom, 1 + a.zoom) * rng.uniform(a.crop, 1)
    mirror = -1.0 if rng.random() < a.flip else 1.0
    reach = max(a.shift, (1 - a.crop) / 2)
    shift = rng.uniform(-reach, reach, 2) * (width, height)
    rotate = np.array([[np.cos(angle), -np.sin(angle + shear)], [np.sin(angle), np.cos(angle + shear)]])
    stretch = rng.uniform(1 - a.stretch, 1 + a.stretch, 2) if a.stretch else np.ones(2)
    linear = scale * rotate @ np.diag(stretch * [mirror, 1.0])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    return np.column_stack([linear, centre - linear @ centre + shift])


def draw_perspective(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a random perspective: the corners move inwards by up to some tenths of the side, each on its own.

    Args:
        height: H, height of the image in pixels.
        width: W, width of the image in pixels.
        rng: the generator to draw from.

    Returns:
        The map from output to input pixels: float64, (3, 3).
    """
    spread = rng.uniform(*PERSPECTIVE)
    inwards = np.minimum(np.abs(rng.normal(0, spread, (4, 2))), 0.4)
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    side = np.array([width - 1, height - 1])
    moved = corners + np.where(corners == 0, inwards, -inwards)
    return cv2.getPerspectiveTransform((corners * side).astype(np.float32), (moved * side).astype(np.float32))


def _change_pixels(image: np.ndarray, a: Augmentation, rng: np.random.Generator) -> np.ndarray:
    noisy, blurred, sharpened = rng.random(3) < (a.noise, a.blur, a.sharpen)
    if a.brightness or a.contrast:
        gain = 1 + rng.uniform(-a.contrast, a.contrast)
        offset = 255 * rng.uniform(-a.brightness, a.brightness) + 127.5 * (1 - gain)
        image = cv2.LUT(image, cv2.convertScaleAbs(np.maximum(_LEVELS * np.float32(gain) + np.float32(offset), 0)))
    if noisy:
        image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    if blurred:
        image = cv2.GaussianBlur(image, (3, 3), 0)
    if sharpened:
        image = cv2.filter2D(image, -1, _SHARPEN)
    return image
