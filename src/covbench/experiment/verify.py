"""The command `covbench verify`: read every byte that was fetched or made, and compare it with what was recorded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from covbench.data.fetched_files import compare_file, find_new, read_listed
from covbench.experiment.records import SEAL, read_record
from covbench.experiment.run_files import read_manifest
from covbench.schema import CovbenchError, Run
from covbench.system.content_hashes import checksum_path, hash_anew
from covbench.system.disk import show_bytes
from covbench.system.files import hash_file
from covbench.system.stage_files import find_damage, name_remedy

HELP = """\
Read every byte that was fetched or made, and compare it with the hash that was recorded then: raw files with the
manifest of their dataset; indexes, duplicates, splits, prepared arrays, weights, models, predictions, cases and tables
with their checksum files; manifest.json and metrics.json with the seal in them; kept outputs with their list.

Prints a line for each damaged file, with the command that makes it again. Ends with 0 if nothing is damaged, else with
1. Changes nothing. It reads as fast as the disk does, so a study takes minutes.

Snakemake's jobs make the same comparison for the files that they use. `covbench status` reads small files each time,
and large arrays only if their size, inode or times have changed. This command also finds what leaves no such trace,
such as a bad sector.
"""
EXAMPLES = """\
examples:
  covbench verify                      this folder
  covbench verify --directory demo
"""
MADE = ("index", "thumbnails", "duplicates", "splits", "prepared", "weights")
"""Folders of data/ whose files have checksum files."""
PASSED_ON = (".parquet", ".npy", ".npz", ".keras", ".h5")
"""Suffixes of files that one stage passes on to another."""


@dataclass(frozen=True)
class Check:
    """A comparison of a file with its record.

    size: bytes to read. find_problem: returns what is wrong, empty if nothing is. remedy: the command that mends it.
    """

    path: Path
    size: int
    find_problem: Callable[[], str]
    remedy: str


@dataclass(frozen=True)
class Verdict:
    """The outcome: files and bytes that were read, a line per damaged file, and files without a recorded hash."""

    files: int
    bytes: int
    damages: Sequence[str]
    unrecorded: int

    def __str__(self) -> str:
        more = f"; {self.unrecorded} have no recorded hash, made by an earlier version" if self.unrecorded else ""
        counted = f"{self.files} files, {show_bytes(self.bytes)}: {len(self.damages)} damaged{more}"
        return "\n".join([*self.damages, counted])


def verify(root: Path) -> Verdict:
    """Compare everything that is recorded below a folder. Shows its progress on a terminal.

    root: the folder that holds data/, results/ and checkpoints/.
    """
    checks = list(list_checks(root))
    damages = []
    with tqdm(total=sum(check.size for check in checks), unit="B", unit_scale=True, disable=None) as bar:
        for check in checks:
            problem = _look(check)
            if problem:
                damages.append(f"damaged: {problem}; {check.remedy}")
            bar.update(check.size)
    return Verdict(len(checks), sum(check.size for check in checks), damages, sum(1 for _ in _list_unrecorded(root)))


def _look(check: Check) -> str:
    try:
        return check.find_problem()
    except (ValueError, OSError, KeyError, TypeError, CovbenchError) as error:
        return f"{check.path} cannot be read ({' '.join(str(error).split())})"


def list_checks(root: Path) -> Iterator[Check]:
    """List every comparison that can be made below a folder, in the order of the stages."""
    for manifest in sorted((root / "data" / "raw").glob("*.manifest.json")):
        yield from _list_raw(manifest, root)
    for record in _list_checksums(root):
        path = record.with_name(record.name.removesuffix(".sha256"))
        yield Check(path, _size(path), partial(find_damage, path, hash_anew), _remedy(path, root))
    for path in sorted((root / "results").glob("runs/*/*/*/*/manifest.json")):
        task, protocol, architecture, seed = path.parts[-5:-1]
        run = Run(task, protocol, architecture, int(seed)) if seed.isdecimal() else None
        yield Check(path, _size(path), partial(_check_manifest, path, run), _remedy(path, root))
    for path in sorted((root / "results").glob("runs/*/*/*/trials/*/*/manifest.json")):
        yield Check(path, _size(path), partial(_check_manifest, path, None), _remedy(path, root))
    for pattern in ("runs/*/*/*/*/metrics.json", "external/*/*/*/*/*.json", "controls/*/*/*/manifest.json"):
        for path in sorted((root / "results").glob(pattern)):
            yield Check(path, _size(path), partial(_check_scores, path), _remedy(path, root))
    for pattern in ("*/*/*/*/*/finished/outputs.json", "*/*/*/trials/*/*/*/finished/outputs.json"):
        for path in sorted((root / "checkpoints").glob(pattern)):
            yield from _list_kept(path)


def _list_raw(manifest: Path, root: Path) -> Iterator[Check]:
    raw = manifest.with_name(manifest.name.removesuffix(".manifest.json"))
    remedy = _remedy(manifest, root)
    try:
        listed = read_listed(raw)
    except CovbenchError as error:
        yield Check(manifest, 0, partial(str, error), remedy)
        return
    for name, entry in listed.items():
        yield Check(raw / name, _size(raw / name), partial(compare_file, raw / name, entry), remedy)
    for path in find_new(raw, listed):
        yield Check(path, 0, partial(str, f"{path} was not fetched"), f"remove it, or {remedy}")


def _list_checksums(root: Path) -> list[Path]:
    folders = [*(root / "data" / name for name in MADE), root / "results"]
    return sorted(path for folder in folders for path in folder.rglob("*.sha256") if not path.name.startswith("."))


def _list_unrecorded(root: Path) -> Iterator[Path]:
    """Files that a stage passes on to another and that have no checksum file."""
    folders = [
        *(root / "data" / name for name in MADE),
        *(root / "results" / name for name in ("runs", "external", "controls")),
    ]
    for folder in folders:
        for path in folder.rglob("*"):
            hidden = path.name.startswith(".")
            if path.suffix in PASSED_ON and not hidden and not checksum_path(path).exists():
                yield path
    for path in (root / "results").glob("runs/*/*/*/*/*.json"):
        if f'"{SEAL}"' not in path.read_text(encoding="utf-8", errors="replace"):
            yield path


def _list_kept(listing: Path) -> Iterator[Check]:
    remedy = f"remove it, and the run is trained again when it is asked for: rm -r {listing.parent}"
    try:
        kept = json.loads(listing.read_text(encoding="utf-8"))
        entries = [(entry["file"], entry["sha256"]) for entry in kept.values() if not isinstance(entry, str)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield Check(listing, 0, partial(str, f"{listing} cannot be read ({error})"), remedy)
        return
    for name, sha256 in entries:
        path = listing.with_name(name)
        yield Check(path, _size(path), partial(_compare_kept, path, sha256), remedy)


def _compare_kept(path: Path, sha256: str) -> str:
    return "" if hash_file(path) == sha256 else f"{path} is not what was kept"


def _check_manifest(path: Path, run: Run | None) -> str:
    read_manifest(path, run)
    return ""


def _check_scores(path: Path) -> str:
    """Compare metrics.json with its seal and with the files that it names, or another record with its seal alone."""
    for name, sha256 in read_record(path).get("files", {}).items():
        if hash_file(path.with_name(name)) != sha256:
            return f"{path} was made from or with another {name}"
    return ""


def _remedy(path: Path, root: Path) -> str:
    return name_remedy(os.path.relpath(path, root))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
