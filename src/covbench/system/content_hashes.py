"""The content hash of a large file, kept beside it, so that a run can name its data without reading gigabytes."""

from __future__ import annotations

import os
from pathlib import Path

from covbench.system.files import hash_file, write_whole


def checksum_path(path: Path) -> Path:
    """Where a file's record lies."""
    return path.with_name(f"{path.name}.sha256")


def write_checksum(path: Path, sha256: str | None = None) -> None:
    """Note a file's hash as `sha256sum -c` reads it; `sha256`: where it is known already."""
    with write_whole(checksum_path(path)) as temporary:
        temporary.write_text(f"{sha256 or hash_file(path)}  {path.name}\n", encoding="utf-8")


def read_checksum(path: Path) -> str:
    """The recorded sha256, 64 hexadecimal digits; empty if there is no record."""
    record = checksum_path(path)
    return record.read_text(encoding="utf-8").split()[0] if record.is_file() else ""


def hash_content(path: Path) -> str:
    """sha256 of a file: from its record while that is newer than the file's last change, otherwise from its bytes.

    The last change is the inode's (ctime), which a copy with an older date or a rename cannot hide. A record that
    proves right after all (a checkout changes times) is renewed; one that proves wrong is left to whoever wrote it.
    """
    recorded = read_checksum(path)
    if recorded and checksum_path(path).stat().st_mtime_ns >= path.stat().st_ctime_ns:
        return recorded
    found = hash_file(path)
    if recorded == found and os.access(checksum_path(path), os.W_OK):
        os.utime(checksum_path(path))
    return found
