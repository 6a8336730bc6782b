"""Check what a stage reads against the checksum files of the stage that wrote it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from covbench.schema import CovbenchError
from covbench.system.content_hashes import checksum_path, hash_anew, write_checksum

log = logging.getLogger(__name__)

Hash = Callable[[Path], str]
"""From a path to its sha256: content_hashes.hash_anew reads every byte, hash_content believes a stamp."""


def seal_files(paths: Iterable[Path | str]) -> None:
    """Write the checksum file of each file that a stage has written. The next stage compares."""
    for path in map(Path, paths):
        write_checksum(path)


def check_files(paths: Iterable[Path | str]) -> dict[str, str]:
    """Read every byte of the files that a stage is about to use, and compare them with their checksum files.

    A file without a checksum file, made by an earlier version or by hand, cannot be compared. The log counts them.

    Returns the sha256 of each existing file by its path. Raises CovbenchError that names every damaged file with its
    remedy.
    """
    hashes: dict[str, str] = {}
    inputs, problems = [Path(path) for path in dict.fromkeys(map(str, paths))], []
    for path in inputs:
        if problem := _hash_into(hashes, path) or find_damage(path, lambda given: hashes[str(given)]):
            problems.append(f"{problem}; {name_remedy(path)}")
    if problems:
        heading = [f"{len(problems)} input files are damaged:"] if len(problems) > 1 else []
        raise CovbenchError("\n  ".join([*heading, *problems]))
    unsealed = sum(not checksum_path(path).is_file() for path in inputs)
    if unsealed:
        log.info("%d of %d input files have no checksum file to compare with", unsealed, len(inputs))
    return hashes


def _hash_into(hashes: dict[str, str], path: Path) -> str:
    """Add the sha256 of an existing file to `hashes`. Returns why it cannot be read; empty if it can."""
    try:
        if path.is_file():
            hashes[str(path)] = hash_anew(path)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    return ""


def find_damage(path: Path, hash_file: Hash) -> str:
    """Compare a file with its checksum file.

    path: the file. hash_file: how its content is hashed.

    Returns what is wrong; empty if nothing is, or if there is no checksum file.
    """
    checksum_file = checksum_path(path)
    if not checksum_file.is_file():
        return ""
    if not path.is_file():
        return f"{path} is missing, but its checksum file is there"
    line = checksum_file.read_text(encoding="utf-8", errors="replace").strip()
    recorded = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line)
    if not recorded:
        return f"{checksum_file} holds no sha256, so {path} cannot be compared"
    if recorded[2] != path.name:
        return f"{checksum_file} is that of {recorded[2]}, so {path} cannot be compared"
    try:
        found = hash_file(path)
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    if found != recorded[1]:
        return f"{path} is not what was written: its sha256 is {found[:12]}…, {recorded[1][:12]}… was recorded"
    return ""


def name_remedy(path: Path | str) -> str:
    """Name the command that makes a file of the workflow again. It takes the user's own options as well."""
    return f"make it again: snakemake --cores 8 --forcerun {path}"
