"""Lookup tables of DICOM files: modality and VOI tables of grey values, and palettes of colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from covbench.schema import CovbenchError

if TYPE_CHECKING:
    from pydicom import Dataset


def apply_table(data: Dataset, item: Dataset, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Look up values in a modality or VOI table.

    Values before the table's first get its first entry, those behind its last get its last (PS3.3 C.11.1.1.1).

    Args:
        data: the file, for its byte order.
        item: of the sequence, with LUT Descriptor and LUT Data.
        values: any number, (H, W). They are rounded.

    Returns:
        The entries, int64, (H, W), and the largest number that an entry may have.

    Raises:
        CovbenchError: the table has fewer entries than it claims.
    """
    entries = _read_entries(data, item.LUTDescriptor, item["LUTData"].value, "LUT Data (0028,3006)")
    largest = max(2 ** int(item.LUTDescriptor[2]) - 1, int(entries.max()))
    return _look_up(entries, int(item.LUTDescriptor[1]), values), largest


def read_palette(data: Dataset, pixels: np.ndarray) -> np.ndarray:
    """Look up palette positions.

    data: the file.
    pixels: palette positions, integers, (H, W).

    Returns RGB, uint8, (H, W, 3). Of entries of 16 bits the upper 8 remain. Raises CovbenchError if the palette is
    shorter than it claims.
    """
    if "RedPaletteColorLookupTableData" not in data:
        from pydicom.pixels import apply_color_lut

        colours = apply_color_lut(pixels, data)[..., :3].astype(np.int64)
    else:
        channels = []
        for name in ("Red", "Green", "Blue"):
            descriptor = data[f"{name}PaletteColorLookupTableDescriptor"].value
            stored = data[f"{name}PaletteColorLookupTableData"].value
            entries = _read_entries(data, descriptor, stored, f"{name} Palette Color Lookup Table Data")
            channels.append(_look_up(entries, int(descriptor[1]), pixels))
        colours = np.stack(channels, axis=-1)
    return (colours if colours.max() < 256 else colours >> 8).astype(np.uint8)


def _look_up(entries: np.ndarray, first: int, values: np.ndarray) -> np.ndarray:
    """Map values to entries. `first` is the value of the first entry; a negative one may be written as unsigned."""
    if first >= 2**15 and values.min() < 0:
        first -= 2**16
    return entries[np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)]


def _read_entries(data: Dataset, descriptor: Any, stored: Any, name: str) -> np.ndarray:
    """Read the entries of a table, int64: words as numbers, words as bytes, or packed bytes."""
    count = int(descriptor[0]) or 2**16
    if not isinstance(stored, bytes):
        entries = np.atleast_1d(np.asarray(stored, np.int64))
    elif len(stored) in (count, count + 1):
        entries = np.frombuffer(stored, np.uint8).astype(np.int64)
    else:
        order = "<" if data.file_meta.TransferSyntaxUID.is_little_endian else ">"
        entries = np.frombuffer(stored[: len(stored) // 2 * 2], f"{order}u2").astype(np.int64)
    if len(entries) < count:
        raise CovbenchError(f"{name} holds {len(entries)} entries, but its descriptor says {count}")
    return entries[:count]
