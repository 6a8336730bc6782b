"""The images of index rows that share a file: decoded, or read from the store where they are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.decoded_store import DecodedStore
from covbench.data.decoding import naming
from covbench.data.images import read_images
from covbench.data.volumes import read_frames
from covbench.data.windows import show_frame
from covbench.system.content_hashes import describe_file
from covbench.system.files import hash_file


@dataclass(frozen=True)
class RawFile:
    """A raw file, the sha256 of its bytes, and its size, inode and times before they were hashed."""

    path: Path
    sha256: str
    state: Mapping[str, int]

    def is_unchanged(self) -> bool:
        """Return whether the file is there as it was before it was hashed."""
        try:
            return describe_file(self.path) == self.state
        except OSError:
            return False


def hash_raw(path: Path) -> RawFile:
    """Hash a raw file. Raises CovbenchError if it cannot be read."""
    with naming(path):
        state = describe_file(path)
        return RawFile(path, hash_file(path), state)


def first_row(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the first row by column name. The rows of one file share window, mask file and orientation."""
    return {str(name): value for name, value in rows.iloc[0].items()}


def decode_rows(rows: pd.DataFrame, file: RawFile, store: DecodedStore) -> Iterator[tuple[str, np.ndarray]]:
    """Decode the images of rows that share a file, and keep those of rows that are not excluded.

    An image is not kept if the file has changed since it was hashed.

    Args:
        rows: schema.INDEX_COLUMNS of one `path`.
        file: the file.
        store: where images are kept.

    Yields:
        sha256 as in the index, and the image, uint8, (H, W), 0-255 grey. sha256 is that of a picture's file, or of a
        slice's stored pixels.

    Raises:
        CovbenchError: the file cannot be read, or has values that cannot be shown.
    """
    names = zip(_name_images(rows, file), rows["excluded"], strict=True)
    for (key, excluded), (sha256, image) in zip(names, _decode(rows, file), strict=True):
        if not excluded and file.is_unchanged():
            store.keep(key, sha256, image)
        yield sha256, image


def load_rows(rows: pd.DataFrame, file: RawFile, store: DecodedStore) -> Iterator[tuple[str, np.ndarray]]:
    """Read the images of rows from the store. If one is missing, decode the file anew.

    Args:
        rows: as of decode_rows.
        file: that holds them.
        store: of the dataset's decoded images.

    Yields:
        As decode_rows.

    Raises:
        CovbenchError: as decode_rows.
    """
    for number, key in enumerate(_name_images(rows, file)):
        found = store.read(key)
        if found is None:
            yield from islice(decode_rows(rows, file, store), number, None)
            return
        yield found


def _name_images(rows: pd.DataFrame, file: RawFile) -> Iterator[bytes]:
    """Yield a key for each row: a hash of the file's content and of all that decides how it is decoded."""
    first = first_row(rows)
    how = [file.sha256, file.path.suffix.lower(), first["orientation"], first["window_low"], first["window_high"]]
    for frame in rows["frame"].tolist():
        yield hashlib.sha256(json.dumps([*how, frame]).encode()).digest()


def _decode(rows: pd.DataFrame, file: RawFile) -> Iterator[tuple[str, np.ndarray]]:
    first, frames = first_row(rows), rows["frame"].tolist()
    low, high, orientation = first["window_low"], first["window_high"], first["orientation"]
    if first["frame"] < 0:
        image = next(read_images(file.path, [-1], low, high, orientation))
        yield from [(file.sha256, image)] * len(rows)
        return
    for frame, values in zip(frames, read_frames(file.path, frames, orientation), strict=True):
        image = show_frame(file.path, frame, values, low, high)
        yield hashlib.sha256(values.tobytes()).hexdigest(), image
