"""Hash the content of files, and spare a large file the reading while its size, inode and times are as they were."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from covbench.schema import CovbenchError
from covbench.system.files import checksum_path, hash_file, write_checksum, write_json

__all__ = [
    "checksum_path",
    "describe_file",
    "hash_anew",
    "hash_array",
    "hash_content",
    "read_checksum",
    "stamp_path",
    "write_checksum",
]

LARGE = 16 * 10**6
"""Bytes from which hash_content looks at the stamp first. Smaller files are read each time: it takes milliseconds."""
TICK = 20 * 10**6  # nanoseconds; two changes of a file within one tick of its file system's clock have the same time
COARSE_TICK = 2 * 10**9  # of a file system that keeps whole seconds


def read_checksum(path: Path) -> str:
    """Return the sha256 in a file's checksum file, 64 hexadecimal digits; empty if there is no checksum file."""
    checksum_file = checksum_path(path)
    return checksum_file.read_text(encoding="utf-8").split()[0] if checksum_file.is_file() else ""


def stamp_path(path: Path) -> Path:
    """Return the path of a large file's stamp: its hash, and its size, inode and times when it was hashed."""
    return path.with_name(f".{path.name}.stamp")


def hash_content(path: Path) -> str:
    """Return the sha256 of a file. A large file whose stamp fits is not read.

    A stamp fits if size, inode, time of modification (mtime) and time of the last change of any kind (ctime) are the
    same. No program can set the ctime, so an edit with an older date or a renamed copy is found. A stamp is not trusted
    if it was made in the future, or in the same tick of the clock as the last change.
    """
    return _read_stamp(path) or hash_anew(path)


def hash_anew(path: Path) -> str:
    """Return the sha256 of a file's bytes, and stamp a large file where its folder may be written."""
    before, started = describe_file(path), time.time_ns()
    found = hash_file(path)
    if before["size"] >= LARGE and before == describe_file(path) and os.access(path.parent, os.W_OK):
        with suppress(OSError, CovbenchError):  # a stamp only saves time
            write_json(stamp_path(path), {"sha256": found, "hashed_at": started, **before})
    return found


def hash_array(array: np.ndarray) -> str:
    """Return the sha256 of the file of a memory-mapped array, as hash_content, or of the bytes of another array."""
    file = getattr(array, "filename", None)  # of an np.memmap and its slices
    return hash_content(Path(file)) if file else hashlib.sha256(array.tobytes()).hexdigest()


def _read_stamp(path: Path) -> str:
    """Return the sha256 in a file's stamp; empty if there is none, or if it is not to be trusted."""
    now = describe_file(path)
    if now["size"] < LARGE:
        return ""
    try:
        stamp = json.loads(stamp_path(path).read_text(encoding="utf-8"))
        hashed_at, sha256 = int(stamp.pop("hashed_at")), str(stamp.pop("sha256"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""
    tick = TICK if now["ctime"] % 10**9 else COARSE_TICK
    return sha256 if stamp == now and now["ctime"] + tick <= hashed_at <= time.time_ns() else ""


def describe_file(path: Path) -> dict[str, int]:
    """Return size, inode, time of modification and time of the last change of any kind, both in nanoseconds."""
    found = path.stat()
    return {"size": found.st_size, "inode": found.st_ino, "mtime": found.st_mtime_ns, "ctime": found.st_ctime_ns}
