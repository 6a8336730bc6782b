"""Rows of numbers on disk, kept by content: each is computed once, by the process that asks first, and read by all."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from covbench.system.disk import LEFT_BY_CACHES, explain_full_disk, leaves_room, show_bytes
from covbench.system.files import open_at_any_position, write_at, write_json

log = logging.getLogger(__name__)

FOLDER = Path("checkpoints") / "features"

_MARK = struct.Struct("<II")


def open_folder(root: Path, content: Mapping[str, Any]) -> Path:
    """Make the folder of the rows that `content` decides, and write it there. Its name is the hash of `content`.

    Args:
        root: the folder of all such folders.
        content: everything that decides the bits of a row, except its position, in plain JSON values.

    Returns:
        The folder.
    """
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    folder = root / digest[:24]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "content.json", content)
    return folder


class RowFile:
    """Rows on disk: a file with a row per position, and a file with a mark for each row that is filled.

    A mark holds the row's key and the CRC-32 of its bytes. A row that was half written, or damaged since, does not
    match its mark and counts as not filled.

    Several processes may use the same files. Each computes what no other process is computing, and reads the rest.
    """

    def __init__(self, path: Path, width: int, dtype: np.dtype) -> None:
        """Open the files `{path}.features` and `{path}.marks`, of rows with `width` numbers."""
        path.parent.mkdir(parents=True, exist_ok=True)  # may have been deleted since
        self.folder, self.dtype = path.parent, dtype
        self.row_bytes = width * dtype.itemsize
        self.data, self.marks = (
            open_at_any_position(path.with_name(f"{path.name}.{suffix}")) for suffix in ("features", "marks")
        )
        self._warned = False

    def load(self, positions: np.ndarray, keys: np.ndarray, compute: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Load rows, and compute those that are not kept yet.

        Args:
            positions: int64, (B,), where the rows are kept.
            keys: int64, (B,), 0 to 2^32 - 1: what each row belongs to. A row kept for another key counts as not filled.
            compute: computes some of these rows: from int64, (M,), numbers in `positions`, to (M, width).

        Returns:
            (B, width), in the order of `positions`.
        """
        number = {position: index for index, position in enumerate(positions.tolist())}
        wanted = {position: int(keys[index]) for position, index in number.items()}
        found = self._read(wanted)
        for wait in (False, True):  # first what no other process is computing, then what others have computed
            missing = sorted(wanted.keys() - found.keys())
            with self._claim(missing, wait) as claimed:
                found |= self._read({position: wanted[position] for position in claimed})
                if left := [position for position in claimed if position not in found]:
                    computed = compute(np.array([number[position] for position in left]))
                    new = dict(zip(left, computed.astype(self.dtype, copy=False), strict=True))
                    self._keep(wanted, new)
                    found |= new
        return np.stack([found[position] for position in positions.tolist()])

    def _read(self, keys: Mapping[int, int]) -> dict[int, np.ndarray]:
        """Read the rows that are filled for the given key, by position: (width,)."""
        found = {}
        for position, key in keys.items():
            mark = os.pread(self.marks.fileno(), _MARK.size, position * _MARK.size)
            if mark != bytes(len(mark)):
                row = os.pread(self.data.fileno(), self.row_bytes, position * self.row_bytes)
                if mark == _MARK.pack(key, zlib.crc32(row)):
                    found[position] = np.frombuffer(row, self.dtype)
        return found

    def _keep(self, keys: Mapping[int, int], rows: Mapping[int, np.ndarray]) -> None:
        if not leaves_room(self.data):
            if not self._warned:
                log.warning("less than %s free: features are not kept, so jobs are slower", show_bytes(LEFT_BY_CACHES))
            self._warned = True
            return
        with explain_full_disk(self.folder, f"features; {FOLDER} may be deleted at any time"):
            self._write(keys, rows)

    def _write(self, keys: Mapping[int, int], rows: Mapping[int, np.ndarray]) -> None:
        """Write rows, and the mark of each after it."""
        for position, row in rows.items():
            data = row.tobytes()
            write_at(self.data, data, position * self.row_bytes)
            write_at(self.marks, _MARK.pack(keys[position], zlib.crc32(data)), position * _MARK.size)

    @contextmanager
    def _claim(self, positions: Sequence[int], wait: bool) -> Iterator[list[int]]:
        """Lock positions, in ascending order. Those that other processes hold are waited for or left out.

        The kernel frees the locks when this process ends, even if it is killed.
        """
        claimed = []
        try:
            for position in positions:
                try:
                    fcntl.lockf(self.marks, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, position * _MARK.size)
                except (BlockingIOError, PermissionError):
                    continue
                claimed.append(position)
            yield claimed
        finally:
            for position in claimed:
                fcntl.lockf(self.marks, fcntl.LOCK_UN, 1, position * _MARK.size)
