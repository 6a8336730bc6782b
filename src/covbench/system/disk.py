"""Check for free disk space, and explain in words when there is none."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from covbench.schema import CovbenchError

FULL_IN_WORDS = re.compile(r"No space left on device|\d+ requested and \d+ written")
SPARE_BYTES = 50 * 10**6  # left free for logs and tables of other jobs
LEFT_BY_CACHES = 5 * 10**9  # bytes for what cannot be computed again as a cache can: models and states


def show_bytes(count: float) -> str:
    """Format a size for people: `1.2 GB`, in decimal units as disks and download pages state them."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def require_space(folder: Path, needed: int, what: str) -> None:
    """Check that a disk has room for a file and SPARE_BYTES more.

    Args:
        folder: an existing folder on the disk.
        needed: size in bytes of what will be written.
        what: name of what will be written, for the error message.

    Raises:
        CovbenchError: the disk has too little free space.
    """
    free = shutil.disk_usage(folder).free
    missing = needed + SPARE_BYTES - free
    if missing > 0:
        raise CovbenchError(
            f"no space left for {what}: it needs {show_bytes(needed)} and {show_bytes(SPARE_BYTES)} to spare, "
            f"but the disk of {folder.resolve()} has {show_bytes(free)} free, {show_bytes(missing)} too little; "
            "free some space or run in a folder on a larger disk (what has been written is kept)"
        )


def leaves_room(file: IO[bytes], size: int = 0) -> bool:
    """Whether LEFT_BY_CACHES bytes stay free on the disk of an open file after `size` more. The file may be deleted."""
    disk = os.fstatvfs(file.fileno())
    return disk.f_bavail * disk.f_frsize >= LEFT_BY_CACHES + size


@contextmanager
def explain_full_disk(folder: Path, what: str, needed: int = 0) -> Iterator[None]:
    """Turn `no space left on device` while writing below `folder` into a CovbenchError.

    Args:
        folder: an existing folder on the disk.
        what: name of what is written, for the error message.
        needed: its size in bytes; 0 if that is not known.

    Yields:
        None, while the writing goes on.

    Raises:
        CovbenchError: the disk is full, or the user's quota is used up.
    """
    try:
        yield
    except OSError as error:
        if not is_full_disk(error):
            raise
        raise CovbenchError(describe_full_disk(folder, what, needed)) from error


def is_full_disk(error: BaseException) -> bool:
    """Return whether an error says that a disk is full or a quota is used up. HDF5 and NumPy say it only in words."""
    numbers = (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, OSError) and (error.errno in numbers or bool(FULL_IN_WORDS.search(str(error))))


def describe_full_disk(folder: Path, what: str, needed: int = 0) -> str:
    """Say in a sentence that a disk is full.

    Args:
        folder: an existing folder on the disk.
        what: name of what is written.
        needed: its size in bytes; 0 if that is not known.

    Returns:
        What is written, how much is free where, how much is missing if the size is known, and what to do.
    """
    free = shutil.disk_usage(folder).free
    missing = f", {show_bytes(needed - free)} too little for {show_bytes(needed)}" if needed > free else ""
    return (
        f"no space left while writing {what}: {folder.resolve()} has {show_bytes(free)} free{missing}; "
        "free some space, then run again (what has been written is kept)"
    )
