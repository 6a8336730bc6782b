"""Read masks as class numbers, and refuse every number that nobody declared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from covbench.data.pictures import read_labels
from covbench.data.volumes import read_frames
from covbench.schema import BACKGROUND, CovbenchError
from covbench.system.listings import join_first

ROUNDING = 1e-3  # how far a stored number may be from the whole number that it means
SHOWN = 10  # values that one message shows


def parse_mask_values(mask_values: str) -> list[tuple[int, int, str]]:
    """Parse '1:lung 128-255:infection' into the first value, last value and name of each entry."""
    entries = []
    for entry in mask_values.split():
        found = re.fullmatch(r"(\d+)(?:-(\d+))?:(\w+)", entry)
        if not found:
            raise CovbenchError(f"mask_values {mask_values!r}: {entry!r} is not VALUE:NAME or FIRST-LAST:NAME")
        first, last, name = found.groups()
        entries.append((int(first), int(last or first), name))
    return entries


def number_classes(values: np.ndarray, mask_values: str, classes: Sequence[str]) -> np.ndarray:
    """Convert stored mask values to class numbers.

    Every value except 0 has to be declared. A range ('128-255:infection') is a threshold: in a grey mask that reaches
    it, every value below it is background. Numbers are rounded if they are within 0.001 of a whole one.

    Args:
        values: numbers, (H, W), or one-hot, (H, W, C).
        mask_values: what the numbers mean, as in the index.
        classes: class names in the order of their numbers. A name that is not among them becomes 0.

    Returns:
        Class numbers: uint8, (H, W).

    Raises:
        CovbenchError: a value is not declared. The message shows such values as they are stored.
    """
    entries = parse_mask_values(mask_values)
    whole = _round(values)
    if values.ndim == 3:
        whole = _choose_channels(whole, max((last for _, last, _ in entries), default=-1) + 1)
    numbers = np.zeros(whole.shape, np.uint8)
    declared = whole == (-1 if values.ndim == 3 else 0)
    for first, last, name in entries:
        here = (whole >= first) & (whole <= last)
        numbers[here] = classes.index(name) if name in classes and name != BACKGROUND else 0
        declared |= (whole >= 0) & (whole <= last) if last > first and here.any() else here
    if not declared.all():
        shown = whole if values.ndim == 3 else values
        raise CovbenchError(f"mask values {_list(shown[~declared])} are not declared in {mask_values!r}")
    return numbers


def _round(values: np.ndarray) -> np.ndarray:
    """Round mask values to whole numbers, int64, any shape. Raise if one is not near a whole number."""
    if values.dtype.kind != "f":
        return values.astype(np.int64)
    with np.errstate(invalid="ignore"):
        whole = np.rint(values)
        near = np.abs(values - whole) <= ROUNDING
    if not near.all():
        raise CovbenchError(f"mask values {_list(values[~near])} are not whole numbers")
    return whole.astype(np.int64)


def _list(values: np.ndarray) -> str:
    """The first SHOWN distinct values with all their digits."""
    distinct = np.unique(values)
    return join_first([np.format_float_positional(value, trim="-") for value in distinct], SHOWN)


def _choose_channels(values: np.ndarray, channels: int) -> np.ndarray:
    """Return the channel that is set at each pixel, int64, (H, W), and -1 where none is. values: 0 or 1, (H, W, C)."""
    if values.shape[-1] != channels:
        raise CovbenchError(f"the mask has {values.shape[-1]} channels, but {channels} are declared")
    if not np.isin(values, (0, 1)).all():
        raise CovbenchError(f"mask values {_list(values[~np.isin(values, (0, 1))])} are not 0 or 1 in a channel")
    if (values.sum(axis=-1) > 1).any():
        raise CovbenchError("the mask sets two channels at one pixel; expected one class per pixel")
    return np.where(values.any(axis=-1), values.argmax(axis=-1), -1)


def read_masks(
    path: Path, frames: Sequence[int], mask_values: str, classes: Sequence[str], orientation: str = ""
) -> Iterator[np.ndarray]:
    """Read masks of one file. The file is read once.

    Args:
        path: a picture, NIfTI volume or .npy stack.
        frames: slice numbers, or [-1] for a file that is one picture.
        mask_values: what the numbers in the file mean, as in the index.
        classes: class names in the order of their numbers.
        orientation: how the mask is stored; of a volume as covbench.data.volumes.match_mask finds it.

    Yields:
        Class numbers, uint8, (H, W), in the order of `frames`.

    Raises:
        CovbenchError: the file cannot be read, or a value is not declared.
    """
    stored = iter([read_labels(path, orientation)]) if list(frames) == [-1] else read_frames(path, frames, orientation)
    for frame, values in zip(frames, stored, strict=True):
        try:
            yield number_classes(values, mask_values, classes)
        except CovbenchError as error:
            raise CovbenchError(f"{path}: {f'frame {frame} ' if frame >= 0 else ''}{error}") from error


def read_mask(path: Path, frame: int, mask_values: str, classes: Sequence[str], orientation: str = "") -> np.ndarray:
    """Read one mask.

    Args:
        path: a picture, NIfTI volume or .npy stack.
        frame: slice number, or -1 for a file that is one picture.
        mask_values: what the numbers in the file mean, as in the index.
        classes: class names in the order of their numbers.
        orientation: how the mask is stored.

    Returns:
        Class numbers: uint8, (H, W).

    Raises:
        CovbenchError: the file cannot be read, or a value is not declared.
    """
    return next(read_masks(path, [frame], mask_values, classes, orientation))


def pack_masks(masks: np.ndarray) -> np.ndarray:
    """Pack masks of one class, bool, (…, H, W), into bits: uint8, (…, H, ceil(W / 8))."""
    return np.packbits(masks, axis=-1)


def unpack_masks(packed: np.ndarray, width: int) -> np.ndarray:
    """Unpack what pack_masks has packed: bool, (…, H, width)."""
    return np.unpackbits(packed, axis=-1, count=width).astype(bool)
