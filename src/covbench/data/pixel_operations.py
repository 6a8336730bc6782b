"""Change the grey values of an image as the study's augmentation library does (albumentations 0.2.3, its defaults).

Each operation takes an image, uint8, (H, W), 0-255 grey, and a random generator, and returns a new image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

Operation = Callable[[np.ndarray, np.random.Generator], np.ndarray]

_LEVELS = np.arange(256, dtype=np.float32)


def equalise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Equalise the histogram locally (CLAHE), in 8 x 8 tiles with a clip limit of 1-4."""
    return cv2.createCLAHE(rng.uniform(1, 4), (8, 8)).apply(image)


def brighten(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add up to a fifth of the image's mean, or subtract it."""
    return _map_levels(image, _LEVELS + rng.uniform(-0.2, 0.2) * image.mean())


def bend(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply a gamma of 0.8-1.2."""
    return _map_levels(image, (_LEVELS / 255) ** rng.uniform(0.8, 1.2) * 255)


def sharpen(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blend the image with a sharpened one, which has 20-50 % of the weight."""
    share, lightness = rng.uniform(0.2, 0.5), rng.uniform(0.5, 1.0)
    kernel = np.full((3, 3), -share, np.float32)
    kernel[1, 1] = 1 - share + share * (8 + lightness)
    return cv2.filter2D(image, -1, kernel)


def blur(image: np.ndarray, _: np.random.Generator) -> np.ndarray:
    """Average 3 x 3 pixels."""
    return cv2.blur(image, (3, 3))


def blur_motion(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Average the pixels of a random line inside 3 x 3 pixels."""
    kernel = np.zeros((3, 3), np.uint8)
    start, end = rng.choice(9, 2, replace=False)
    cv2.line(kernel, (int(start % 3), int(start // 3)), (int(end % 3), int(end // 3)), 1)
    return cv2.filter2D(image, -1, kernel.astype(np.float32) / kernel.sum())


def change_contrast(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Multiply by 0.8-1.2."""
    return _map_levels(image, _LEVELS * rng.uniform(0.8, 1.2))


def shift_value(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add up to 20 levels, or subtract them: the part of HueSaturationValue that a grey image can show."""
    return _map_levels(image, _LEVELS + rng.uniform(-20, 20))


def add_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise whose standard deviation is 1-5 % of 255."""
    noise = rng.normal(0, 255 * rng.uniform(0.01, 0.05), image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def _map_levels(image: np.ndarray, levels: np.ndarray) -> np.ndarray:
    return cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8))


STUDY_LESIONS: tuple[tuple[float, Sequence[Operation]], ...] = (
    (0.2, (add_noise,)),
    (0.9, (equalise, brighten, bend)),
    (0.9, (sharpen, blur, blur_motion)),
    (0.9, (change_contrast, shift_value)),
)
"""Binary masks, in order: with this probability, one of these (Main_Unet_binary_segmentation.ipynb, cell 6)."""

STUDY_CLASSES: tuple[tuple[float, Sequence[Operation]], ...] = ((0.2, (add_noise,)),)
"""Four classes (Master_Z_Unet_Segmentation.ipynb, cell 15)."""


def apply_choices(
    image: np.ndarray, choices: Sequence[tuple[float, Sequence[Operation]]], rng: np.random.Generator
) -> np.ndarray:
    """Apply at most one operation of each choice.

    Args:
        image: uint8, (H, W), 0-255 grey.
        choices: in order, the probability that one of some operations is applied, and these operations.
        rng: the generator to draw from.

    Returns:
        uint8, (H, W).
    """
    for probability, operations in choices:
        if rng.random() < probability:
            image = operations[int(rng.integers(len(operations)))](image, rng)
    return image
