"""Check raw files against the manifest of their fetch and against the index, so that no replaced file is used."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.images import read_frames, read_images, show_frame
from covbench.data.index import count_workers, first_row
from covbench.data.sources.manifests import manifest_path
from covbench.schema import CovbenchError
from covbench.system.files import hash_file
from covbench.system.stage_files import name_remedy

log = logging.getLogger(__name__)

SHOWN = 5  # files that a message lists


def find_changed(raw: Path) -> list[str]:
    """Compare every file of a fetched dataset with its manifest, byte for byte.

    raw: the dataset's folder in data/raw.

    Returns a path with `changed`, `missing` or `new` for each difference. Hidden files do not count.
    """
    listed = _read_manifest(raw)
    present = {path.relative_to(raw).as_posix(): path for path in raw.rglob("*") if path.is_file()}
    new = [name for name in present.keys() - listed.keys() if not any(p.startswith(".") for p in Path(name).parts)]
    return [*_compare(raw, listed, listed), *(f"{raw / name} (new)" for name in sorted(new))]


def require_fetched(raw: Path, names: Iterable[str] | None = None) -> None:
    """Raise CovbenchError that names the files of a dataset that are not what was fetched.

    raw: the dataset's folder in data/raw. names: the files to compare, relative to `raw`; None for all.

    A folder without a manifest was not fetched by covbench, so there is nothing to compare. The log says so.
    """
    if not manifest_path(raw).is_file():
        log.warning("%s has no manifest, so its files are not compared with what was fetched", raw)
        return
    listed = _read_manifest(raw)
    changed = find_changed(raw) if names is None else _compare(raw, listed, sorted(set(names)))
    if changed:
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        raise CovbenchError(
            f"{len(changed)} files of {raw.name} are not what was fetched: {', '.join(changed[:SHOWN])}{more}; "
            f"{name_remedy(manifest_path(raw)).replace('make it again', 'fetch it again')}"
        )


def _read_manifest(raw: Path) -> Mapping[str, Mapping[str, Any]]:
    path = manifest_path(raw)
    try:
        files: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise CovbenchError(f"{path}: damaged ({error}); {name_remedy(path)}") from error
    return files


def _compare(raw: Path, listed: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> list[str]:
    def compare(name: str) -> str:
        path = raw / name
        if name not in listed:
            return f"{path} (new)"
        if not path.is_file():
            return f"{path} (missing)"
        same = path.stat().st_size == listed[name]["size"] and hash_file(path) == listed[name]["sha256"]
        return "" if same else f"{path} (changed)"

    with ThreadPoolExecutor(count_workers()) as pool:
        return [problem for problem in pool.map(compare, names) if problem]


def read_indexed(rows: pd.DataFrame, raw: Path) -> Iterator[np.ndarray]:
    """Yield the images of rows that share a file, uint8, (H, W), each compared with its sha256 in the index.

    rows: of schema.INDEX_COLUMNS. raw: the dataset's folder in data/raw.

    Raises CovbenchError if the file is missing, cannot be read, or does not hold what was indexed.
    """
    first = first_row(rows)
    path, window = raw / first["path"], (first["window_low"], first["window_high"])
    if not path.is_file():
        raise CovbenchError(f"{path}: not found, but the index lists it")
    if first["frame"] < 0:
        _require_indexed(path, hashlib.sha256(path.read_bytes()).hexdigest(), first["sha256"])
        yield from read_images(path, list(rows["frame"]), *window, first["orientation"])
        return
    frames = list(rows["frame"])
    found = read_frames(path, frames, first["orientation"])
    for frame, values, sha256 in zip(frames, found, rows["sha256"], strict=True):
        _require_indexed(path, hashlib.sha256(values.tobytes()).hexdigest(), sha256, f" frame {frame}")
        yield show_frame(path, frame, values, *window)


def _require_indexed(path: Path, found: str, indexed: str, where: str = "") -> None:
    if found != indexed:
        raise CovbenchError(
            f"{path}:{where} is not what was indexed: its sha256 is {found[:12]}…, the index has {indexed[:12]}…"
        )
