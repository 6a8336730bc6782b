"""Check that other users of the machine cannot have put a file there, and cannot change it."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from covbench.schema import CovbenchError


def require_own_folder(folder: Path) -> None:
    """Create a folder that only this user can enter. Its parent has to exist.

    Raises CovbenchError if a link, a file, another user's folder or a folder with other permissions has the name.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise CovbenchError(f"{folder}: must be a folder of yours that nobody else can enter; remove it, or chmod 700")


def require_unshared(path: Path) -> None:
    """Raise CovbenchError if every user of the machine may write to a file or folder."""
    if path.stat().st_mode & stat.S_IWOTH:
        raise CovbenchError(f"{path}: every user of this machine may write here; chmod o-w")
