"""Check that other users of the machine cannot have put a file there, and cannot change it."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from covbench.schema import CovbenchError


def make_own_folder(folder: Path) -> None:
    """Create a folder that only this user can enter, unless it is there already. Its parent has to exist.

    Raises CovbenchError as require_own_folder does.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    require_own_folder(folder)


def require_own_folder(folder: Path) -> None:
    """Raise CovbenchError unless the path is a folder, no link, that belongs to this user and only he can enter."""
    try:
        found = folder.lstat()
    except FileNotFoundError as error:
        raise CovbenchError(f"{folder}: no such folder") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise CovbenchError(f"{folder}: must be a folder of yours that nobody else can enter; remove it, or chmod 700")


def require_unshared(path: Path) -> None:
    """Raise CovbenchError if every user of the machine may write to a file or folder."""
    if path.stat().st_mode & stat.S_IWOTH:
        raise CovbenchError(f"{path}: every user of this machine may write here; chmod o-w")
