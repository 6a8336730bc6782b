"""Bring datasets into data/raw as published: verified, whole or not at all, and the same at every later fetch."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

from covbench.data.sources.archives import unpack_inner_archives
from covbench.data.sources.manifests import build_manifest, read_first_manifest, require_same_files, write_manifests
from covbench.data.sources.origins import (
    bring_source,
    copy_mirror,
    find_in_mirror,
    name_source,
    refuse_lfs_pointers,
)
from covbench.schema import Card, CovbenchError, GitHub, Zenodo
from covbench.system.disk import explain_full_disk, show_bytes

log = logging.getLogger(__name__)

__all__ = ["fetch_dataset"]


def fetch_dataset(name: str, card: Card, raw: Path, mirror: Path | None) -> dict[str, Any]:
    """Bring a dataset into a folder and write its manifest beside it, `{raw}.manifest.json`.

    A dataset from a fixed source (GitHub, Zenodo) that is unchanged in `raw` is not fetched again. `raw` is replaced as
    a whole at the end. Until then, downloaded archives stay in `.downloads/{name}` beside it, so an interrupted fetch
    resumes.

    Args:
        name: name of the dataset.
        card: the dataset's card.
        raw: folder of the dataset in data/raw.
        mirror: folder that holds datasets under their card's `mirror_folders`; None fetches from the card's source.

    Returns:
        The manifest, {"files": {relative path: {"sha256", "size"}}, "source"}.

    Raises:
        CovbenchError: the source cannot be reached, is damaged, or holds other files than at an earlier fetch. `raw`
            stays as it was.
    """
    raw.parent.mkdir(parents=True, exist_ok=True)
    downloads, new = raw.parent / ".downloads" / name, raw.parent / f".{name}.new"
    with explain_full_disk(raw.parent, name):
        manifest = _find_unchanged(card, raw, mirror)
        if manifest is None:
            try:
                manifest = _assemble(card, new, downloads, mirror)
                require_same_files(raw, manifest)
                _replace_folder(raw, new)
            finally:
                shutil.rmtree(new, ignore_errors=True)
        write_manifests(raw, manifest)
        shutil.rmtree(downloads, ignore_errors=True)
    sizes = [entry["size"] for entry in manifest["files"].values()]
    log.info("%s: %d files, %s, from %s", name, len(sizes), show_bytes(sum(sizes)), manifest["source"])
    return manifest


def _assemble(card: Card, new: Path, downloads: Path, mirror: Path | None) -> dict[str, Any]:
    """Put the whole dataset into the new folder `new` and return its manifest."""
    shutil.rmtree(new, ignore_errors=True)
    if mirror is not None and not card.synthetic:
        mirrored = find_in_mirror(card, mirror)
        copy_mirror(mirrored, new)
        origin = f"mirror folder {mirrored.name}"
    else:
        if len(card.sources) != 1:
            raise CovbenchError(f"{card.title}: the card must have one source, not {len(card.sources)}")
        (source,) = card.sources
        bring_source(source, new, downloads)
        origin = name_source(source)
    unpack_inner_archives(new)
    refuse_lfs_pointers(new)
    manifest = build_manifest(new, origin)
    if not manifest["files"]:
        raise CovbenchError(f"{origin} brought no files")
    return manifest


def _find_unchanged(card: Card, raw: Path, mirror: Path | None) -> dict[str, Any] | None:
    """Return the manifest of `raw` if it came from the same fixed source and no file has changed since."""
    first = read_first_manifest(raw)
    fixed = mirror is None and all(isinstance(source, GitHub | Zenodo) for source in card.sources)
    if first is None or not fixed or not raw.is_dir():
        return None
    if [first["source"]] != [name_source(source) for source in card.sources]:
        return None
    present = build_manifest(raw, first["source"])
    if present != first:
        log.warning("%s has changed since it was fetched; fetching it again", raw)
        return None
    log.info("%s exists already, unchanged", raw)
    return present


def _replace_folder(raw: Path, new: Path) -> None:
    """Replace the folder `raw` by `new`."""
    old = raw.parent / f".{raw.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if raw.exists():
        raw.rename(old)
    new.rename(raw)
    shutil.rmtree(old, ignore_errors=True)
