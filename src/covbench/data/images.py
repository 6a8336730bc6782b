"""Read pictures and slices of volumes as grey images, resize them and hash what they show.

Every slice is turned upright as radiologists see it: the front of the patient is up, and the patient's right side is on
the left. A file that cannot be read raises CovbenchError, which names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from covbench.data.decoding import turn_upright
from covbench.data.pictures import read_picture
from covbench.data.volumes import read_frames
from covbench.data.windows import show_frame


def read_images(
    path: Path, frames: Sequence[int], window_low: float, window_high: float, orientation: str = ""
) -> Iterator[np.ndarray]:
    """Read slices of one file as grey images. The file is read once.

    Args:
        path: a picture, NIfTI volume or .npy stack.
        frames: slice numbers, or [-1] for a file that is one picture.
        window_low: the value in HU that becomes 0, or NaN for display values. Pictures do not use it.
        window_high: the value in HU that becomes 255. Pictures do not use it.
        orientation: as in the index.

    Yields:
        Upright images, uint8, (H, W), 0-255 grey, in the order of `frames`.

    Raises:
        CovbenchError: the file cannot be read, a value is NaN or infinite, or a display value is not in 0-255.
    """
    if list(frames) == [-1]:
        yield np.ascontiguousarray(turn_upright(read_picture(path), orientation))
        return
    for frame, values in zip(frames, read_frames(path, frames, orientation), strict=True):
        yield show_frame(path, frame, values, window_low, window_high)


def read_image(path: Path, frame: int, window_low: float, window_high: float, orientation: str = "") -> np.ndarray:
    """Read one picture or slice as a grey image.

    Args:
        path: a picture, NIfTI volume or .npy stack.
        frame: slice number, or -1 for a file that is one picture.
        window_low: the value in HU that becomes 0, or NaN for display values. Pictures do not use it.
        window_high: the value in HU that becomes 255. Pictures do not use it.
        orientation: as in the index.

    Returns:
        The upright image: uint8, (H, W), 0-255 grey.

    Raises:
        CovbenchError: the file cannot be read, a value is NaN or infinite, or a display value is not in 0-255.
    """
    return next(read_images(path, [frame], window_low, window_high, orientation))


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Squash an image, uint8 or float32, (H, W), to (size, size) with antialiasing: every stored pixel contributes."""
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0))


def perceptual_hash(image: np.ndarray) -> str:
    """Compute ImageHash's 64-bit phash of an image, uint8, (H, W): 16 hexadecimal digits (Zauner 2010)."""
    import imagehash

    return str(imagehash.phash(Image.fromarray(image)))
