"""What all decoders share: errors that name the file, limits of size, checks of values, and how a slice is turned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from covbench.schema import CovbenchError

MAX_PIXELS = 100_000_000
"""Pixels of the largest picture or slice that is read. A file of a few bytes may claim more than memory holds."""

MAX_BYTES = 8 * 2**30
"""Bytes of the largest volume that is read, unpacked."""


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn any error into one CovbenchError that names the file.

    On a damaged file decoders raise anything from OSError to SyntaxError.
    """
    try:
        yield
    except CovbenchError as error:
        if str(path) in str(error):
            raise
        raise CovbenchError(f"{path}: {error}") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CovbenchError(f"{path}: cannot be read ({reason})") from error


def check_size(rows: int, columns: int) -> None:
    """Raise CovbenchError if a picture claims no pixel, or more than MAX_PIXELS."""
    if rows * columns == 0:
        raise CovbenchError("holds no pixel")
    if rows * columns > MAX_PIXELS:
        raise CovbenchError(f"claims {columns} x {rows} pixels; at most {MAX_PIXELS:,} pixels are read")


def check_finite(values: np.ndarray) -> np.ndarray:
    """Return the values, any shape. Raise CovbenchError if one is NaN or infinite."""
    if not np.isfinite(values).all():
        raise CovbenchError("holds NaN or infinite values")
    return values


def stretch(values: np.ndarray) -> np.ndarray:
    """Stretch any numbers to uint8 over their own range, so that the smallest becomes 0 and the largest 255.

    Raises CovbenchError if a value is NaN or infinite.
    """
    values = check_finite(values.astype(np.float64))
    low, high = values.min(), values.max()
    if low == high:
        return np.zeros(values.shape, np.uint8)
    return np.rint((values - low) / (high - low) * 255).astype(np.uint8)


def measure_luminance(colours: np.ndarray) -> np.ndarray:
    """Weigh red, green and blue, any number, (H, W, 3), as ITU-R 601-2 does: float64, (H, W)."""
    return colours.astype(np.float64) @ np.array([0.299, 0.587, 0.114])


def turn_upright(values: np.ndarray, orientation: str) -> np.ndarray:
    """Turn a slice so that its rows run to the patient's back and its columns to the patient's left.

    values: (H, W) or (H, W, C).
    orientation: the directions in which the first and the second axis run now, two letters of L, R, A, P. An empty one
        means that the slice is upright already.
    """
    if not orientation:
        return values
    down, right = orientation[0], orientation[1]
    if down in "LR":
        values, down, right = values.swapaxes(0, 1), right, down
    if down == "A":
        values = values[::-1]
    if right == "R":
        values = values[:, ::-1]
    return values
