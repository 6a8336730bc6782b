"""Tell values in HU from display values, and show either as grey."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from covbench.data.decoding import check_finite
from covbench.data.volumes import count_frames, read_frames
from covbench.schema import CovbenchError

HU, DISPLAY = "HU", "display values"
LUNG = (-950.0, -600.0)  # HU of lung, without the air around the patient, which may be padding
TISSUE = (-150.0, 150.0)  # HU of fat, water and muscle
LEAST = 0.01  # share of the voxels of a chest that are at least lung, and at least tissue
BRIGHT = 128  # soft tissue in any lung window is brighter: 196 of 255 in the widest, -1500 to 500 HU


def detect_scale(path: Path, orientation: str = "") -> str:
    """Tell from all values of a chest CT whether they are HU or display values.

    HU hold lung and tissue in plausible numbers. Display values lie in 0-255, and the brightest is at least BRIGHT.

    path: a NIfTI volume or .npy stack of single slices.
    orientation: as in the index.

    Returns HU or DISPLAY. Raises CovbenchError for values that are neither, or that are not finite.
    """
    low, high, lung, tissue, total = math.inf, -math.inf, 0, 0, 0
    frames = range(count_frames(path))
    for frame, values in zip(frames, read_frames(path, frames, orientation), strict=True):
        with _naming_frame(path, frame):
            _check_slice(values)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        lung += int(((values >= LUNG[0]) & (values <= LUNG[1])).sum())
        tissue += int(((values >= TISSUE[0]) & (values <= TISSUE[1])).sum())
        total += values.size
    if fits_display(low, high) and high >= BRIGHT:
        return DISPLAY
    if min(lung, tissue) >= LEAST * total:
        return HU
    raise CovbenchError(
        f"{path}: its values run from {low:g} to {high:g}; that is neither HU, with lung near -800 and tissue near 0, "
        "nor display values in 0-255; rescale the file"
    )


def fits_display(low: float, high: float) -> bool:
    """Return whether values from `low` to `high` round to 0-255."""
    return low > -0.5 and high < 255.5


@contextmanager
def _naming_frame(path: Path, frame: int) -> Iterator[None]:
    """Put file and number of a slice before what is wrong with it."""
    try:
        yield
    except CovbenchError as error:
        raise CovbenchError(f"{path}: frame {frame} {error}") from error


def _check_slice(values: np.ndarray) -> None:
    """Raise CovbenchError if a slice has channels or values that are not finite."""
    if values.ndim != 2:
        raise CovbenchError(f"holds {values.shape[-1]} channels; expected grey values")
    check_finite(values)


def show_values(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Convert the stored values of a slice to grey.

    Args:
        values: any number, (H, W), HU or display values.
        low: the value in HU that becomes 0. NaN means that the values are display values, 0-255, already.
        high: the value in HU that becomes 255. It is not used if `low` is NaN.

    Returns:
        uint8, (H, W), 0-255 grey.

    Raises:
        CovbenchError: the slice has channels, a value is NaN or infinite, a display value does not round to 0-255, or
            the window is empty.
    """
    _check_slice(values)
    if math.isnan(low):
        if not fits_display(float(values.min()), float(values.max())):
            raise CovbenchError(f"holds values from {values.min():g} to {values.max():g}; display values are 0-255")
        return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    if not low < high:
        raise CovbenchError(f"has an empty window: {low:g} to {high:g}")
    return np.rint(np.clip((values.astype(np.float32) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def show_frame(path: Path, frame: int, values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Convert the stored values of a slice to grey as show_values does, with errors that name file and slice.

    Args:
        path: the file, for error messages.
        frame: number of the slice, for error messages.
        values: any number, (H, W), HU or display values.
        low: the value in HU that becomes 0, or NaN for display values.
        high: the value in HU that becomes 255.

    Returns:
        uint8, (H, W), 0-255 grey.

    Raises:
        CovbenchError: as show_values.
    """
    with _naming_frame(path, frame):
        return show_values(values, low, high)
