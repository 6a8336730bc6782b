"""Check raw files against the manifest of their fetch and against the index, so that no replaced file is used."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.decoded_store import DecodedStore
from covbench.data.index import count_workers
from covbench.data.row_images import first_row, hash_raw, load_rows
from covbench.data.sources.manifests import manifest_path
from covbench.schema import CovbenchError
from covbench.system.files import hash_file
from covbench.system.listings import join_first
from covbench.system.stage_files import name_remedy

log = logging.getLogger(__name__)


def read_listed(raw: Path) -> Mapping[str, Mapping[str, Any]]:
    """Read what was fetched: sha256 and size of each file by its path relative to `raw`.

    Raises CovbenchError if the manifest is damaged.
    """
    path = manifest_path(raw)
    try:
        files: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise CovbenchError(f"{path}: damaged ({error}); {name_remedy(path)}") from error
    return files


def compare_file(path: Path, entry: Mapping[str, Any]) -> str:
    """Compare a raw file, byte for byte, with its entry in the manifest. Returns what is wrong; empty if nothing is."""
    if not path.is_file():
        return f"{path} is missing"
    same = path.stat().st_size == entry["size"] and hash_file(path) == entry["sha256"]
    return "" if same else f"{path} is not what was fetched"


def find_new(raw: Path, listed: Mapping[str, Mapping[str, Any]]) -> list[Path]:
    """Find files of a dataset that were not fetched. Hidden ones do not count: no dataset reads them."""
    present = [path for path in raw.rglob("*") if path.is_file() and path.relative_to(raw).as_posix() not in listed]
    return sorted(path for path in present if not any(p.startswith(".") for p in path.relative_to(raw).parts))


def require_fetched(raw: Path, names: Iterable[str] | None = None) -> None:
    """Raise CovbenchError that names the files of a dataset that are not what was fetched.

    raw: the dataset's folder in data/raw. names: the files to compare, relative to `raw`; None for all.

    A folder without a manifest was not fetched by covbench, so there is nothing to compare. The log says so.
    """
    if not manifest_path(raw).is_file():
        log.warning("%s has no manifest, so its files are not compared with what was fetched", raw)
        return
    listed = read_listed(raw)
    wanted = set(listed) if names is None else set(names)
    new = find_new(raw, listed) if names is None else [raw / name for name in sorted(wanted - listed.keys())]
    with ThreadPoolExecutor(count_workers()) as pool:
        found = pool.map(lambda name: compare_file(raw / name, listed[name]), sorted(wanted & listed.keys()))
        changed = [problem for problem in found if problem]
    changed += [f"{path} was not fetched" for path in new]
    if changed:
        remedy = name_remedy(manifest_path(raw)).replace("make it again", "fetch the dataset again")
        raise CovbenchError(f"{raw}: {len(changed)} wrong files: {join_first(changed)}; {remedy}")


def read_indexed(rows: pd.DataFrame, raw: Path, store: DecodedStore) -> Iterator[np.ndarray]:
    """Yield the images of rows that share a file, each compared with its sha256 in the index.

    Args:
        rows: of schema.INDEX_COLUMNS.
        raw: the dataset's folder in data/raw.
        store: where decoded images are kept. What it does not hold is decoded.

    Yields:
        uint8, (H, W), 0-255 grey, in the order of the rows.

    Raises:
        CovbenchError: the file is missing, cannot be read, or does not hold what was indexed.
    """
    first = first_row(rows)
    path = raw / first["path"]
    if not path.is_file():
        raise CovbenchError(f"{path}: not found, but the index lists it")
    file = hash_raw(path)
    if first["frame"] < 0:
        _require_indexed(path, file.sha256, first["sha256"])
    for frame, sha256, (found, image) in zip(rows["frame"], rows["sha256"], load_rows(rows, file, store), strict=True):
        if frame >= 0:
            _require_indexed(path, found, sha256, f" frame {frame}")
        yield image


def _require_indexed(path: Path, found: str, indexed: str, where: str = "") -> None:
    if found != indexed:
        raise CovbenchError(
            f"{path}:{where} is not what was indexed: its sha256 is {found[:12]}…, the index has {indexed[:12]}…"
        )
