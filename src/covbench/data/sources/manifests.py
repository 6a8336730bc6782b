"""Record what a dataset held when it was first fetched, so that every later fetch brings the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from covbench.schema import CovbenchError
from covbench.system.files import hash_file, write_json

SHOWN = 5  # differing files that a message lists


def manifest_path(raw: Path) -> Path:
    """Return the path of the manifest beside the dataset folder `raw`."""
    return raw.parent / f"{raw.name}.manifest.json"


def kept_manifest_path(raw: Path) -> Path:
    """Return the path of a second copy. Snakemake deletes the declared one before it fetches again."""
    return raw.parent / ".manifests" / f"{raw.name}.json"


def build_manifest(folder: Path, source: str) -> dict[str, Any]:
    """List sha256 and size of every file below `folder`, by path with forward slashes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "source": source,
        "files": {
            path.relative_to(folder).as_posix(): {"sha256": hash_file(path), "size": path.stat().st_size}
            for path in files
        },
    }


def read_first_manifest(raw: Path) -> dict[str, Any] | None:
    """Read the manifest of an earlier fetch; None if there is none. Raises CovbenchError if it is damaged."""
    for path in (kept_manifest_path(raw), manifest_path(raw)):
        if path.is_file():
            try:
                manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise CovbenchError(f"{path}: damaged ({error}); delete it and fetch again") from error
            return manifest
    return None


def require_same_files(raw: Path, new: dict[str, Any]) -> None:
    """Raise CovbenchError if an earlier fetch of `raw` brought other files. Sources may differ."""
    first = read_first_manifest(raw)
    if first is None:
        return
    old_files, new_files = first["files"], new["files"]
    differing = [
        f"{path} ({'new' if path not in old_files else 'missing' if path not in new_files else 'changed'})"
        for path in sorted(old_files.keys() | new_files.keys())
        if old_files.get(path) != new_files.get(path)
    ]
    if differing:
        more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        manifests = " and ".join(str(p) for p in (kept_manifest_path(raw), manifest_path(raw)) if p.exists())
        raise CovbenchError(
            f"{raw.name}: the files of {new['source']} differ from those that {first['source']} brought before: "
            f"{', '.join(differing[:SHOWN])}{more}. {raw} is unchanged; to accept the new files delete {manifests}"
        )


def write_manifests(raw: Path, manifest: dict[str, Any]) -> None:
    """Write both copies of the manifest, the kept one first."""
    write_json(kept_manifest_path(raw), manifest)
    write_json(manifest_path(raw), manifest)
