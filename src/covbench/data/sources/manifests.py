"""Record what a dataset held when it was first fetched, so that every later fetch brings the same."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from covbench.data.sources.origins import name_sources
from covbench.schema import Card, CovbenchError, Kaggle, KaggleCompetition
from covbench.system.files import PROJECT, hash_file, write_json
from covbench.system.listings import join_first, list_differences

log = logging.getLogger(__name__)

RECORDED = PROJECT / "workflow" / "resources" / "manifests"
"""Manifests that travel with covbench: {dataset}.json, copies of what a first fetch wrote."""
HOW_TO_RECORD = (
    "%s: no manifest of %s travels with covbench, so these files are taken as they came; to record them: "
    "cp data/raw/%s.manifest.json workflow/resources/manifests/%s.json"
)


def manifest_path(raw: Path) -> Path:
    """Return the path of the manifest beside the dataset folder `raw`."""
    return raw.parent / f"{raw.name}.manifest.json"


def kept_manifest_path(raw: Path) -> Path:
    """Return the path of a second copy. Snakemake deletes the declared one before it fetches again."""
    return raw.parent / ".manifests" / f"{raw.name}.json"


def list_manifests(raw: Path) -> tuple[Path, Path]:
    """Return the paths of both copies, the kept one first."""
    return kept_manifest_path(raw), manifest_path(raw)


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
    for path in list_manifests(raw):
        if path.is_file():
            return _read_manifest(path)
    return None


def require_same_files(raw: Path, new: dict[str, Any]) -> None:
    """Raise CovbenchError if an earlier fetch of `raw` brought other files. Sources may differ."""
    first = read_first_manifest(raw)
    if first is None:
        return
    if differing := list_differences(first["files"], new["files"]):
        manifests = " and ".join(str(path) for path in list_manifests(raw) if path.exists())
        raise CovbenchError(
            f"{raw.name}: the files of {new['source']} differ from those that {first['source']} brought before: "
            f"{join_first(differing)}. {raw} is unchanged; to accept the new files delete {manifests}"
        )


def require_recorded_files(name: str, card: Card, new: dict[str, Any], recorded: Path = RECORDED) -> None:
    """Compare a fetched dataset with the manifest of it that travels with covbench.

    A dataset from a mirror may be a part of it. Its files that differ are counted in the log. Without a recorded
    manifest, the log says how to record one for a source that publishes no checksums.

    Args:
        name: name of the dataset.
        card: its card.
        new: its manifest as it was fetched now.
        recorded: folder of the recorded manifests.

    Raises:
        CovbenchError: the recorded manifest is damaged, is of another source or version than the card names, or lists
            other files than the card's source brought.
    """
    path = recorded / f"{name}.json"
    source = name_sources(card)
    if not path.is_file():
        unpublished = any(isinstance(source, Kaggle | KaggleCompetition) for source in card.sources)
        if unpublished and new["source"] == source:
            log.warning(HOW_TO_RECORD, name, new["source"], name, name)
        return
    known = _read_manifest(path)
    if known["source"] != source:
        raise CovbenchError(
            f"{path} is of {known['source']}, but the card names {source}; delete the file, fetch, and "
            "record the new manifest"
        )
    differing = list_differences(known["files"], new["files"])
    if new["source"] != source:
        unlike = [line for line in differing if not line.endswith("(missing)")]
        log.info("%s: %d files of %s are not as recorded in %s", name, len(unlike), new["source"], path.name)
    elif differing:
        raise CovbenchError(
            f"{name}: the files of {new['source']} are not those recorded in {path}: {join_first(differing)}. The "
            "source has changed what it publishes under this version, or the download is damaged; fetch again"
        )


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(manifest["source"], str) and isinstance(manifest["files"], dict)):
            raise ValueError("no manifest")
    except (ValueError, TypeError, KeyError) as error:
        raise CovbenchError(f"{path}: damaged ({error}); delete it and fetch again") from error
    return dict(manifest)


def write_manifests(raw: Path, manifest: dict[str, Any]) -> None:
    """Write both copies of the manifest, the kept one first."""
    for path in list_manifests(raw):
        write_json(path, manifest)
