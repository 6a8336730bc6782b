"""Keep the content hash of a large file beside it, so that a run can name its data without reading gigabytes."""

from __future__ import annotations

import os
from pathlib import Path

from covbench.system.files import hash_file, write_whole


def checksum_path(path: Path) -> Path:
    """Return the path of a file's checksum file."""
    return path.with_name(f"{path.name}.sha256")


def write_checksum(path: Path, sha256: str | None = None) -> None:
    """Write a file's checksum file in the format of `sha256sum`.

    sha256: 64 hexadecimal digits, if they are known already; otherwise the file is read.
    """
    with write_whole(checksum_path(path)) as temporary:
        temporary.write_text(f"{sha256 or hash_file(path)}  {path.name}\n", encoding="utf-8")


def read_checksum(path: Path) -> str:
    """Return the sha256 in a file's checksum file, 64 hexadecimal digits; empty if there is no checksum file."""
    checksum_file = checksum_path(path)
    return checksum_file.read_text(encoding="utf-8").split()[0] if checksum_file.is_file() else ""


def hash_content(path: Path) -> str:
    """Return the sha256 of a file, from its checksum file if that is up to date, otherwise from its bytes.

    A checksum file is up to date if it is newer than the last change of the file's inode (ctime), which a copy with an
    older date or a rename cannot hide. An outdated checksum file that still holds the right digits (a checkout changes
    times) gets a new date. One with wrong digits is left to its writer.
    """
    written = read_checksum(path)
    if written and checksum_path(path).stat().st_mtime_ns >= path.stat().st_ctime_ns:
        return written
    found = hash_file(path)
    if written == found and os.access(checksum_path(path), os.W_OK):
        os.utime(checksum_path(path))
    return found
