"""Bring datasets into data/raw as published: verified, whole or not at all, and the same at every later fetch."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from covbench.data.sources.archives import Allowance, unpack_inner_archives
from covbench.data.sources.fetch_lock import lock_fetch
from covbench.data.sources.manifests import (
    RECORDED,
    build_manifest,
    list_manifests,
    read_first_manifest,
    require_recorded_files,
    require_same_files,
    write_manifests,
)
from covbench.data.sources.mirrors import copy_mirror, find_in_mirror
from covbench.data.sources.origins import (
    AND,
    bring_source,
    is_fixed,
    name_source,
    name_sources,
    refuse_lfs_pointers,
)
from covbench.schema import Card, CovbenchError, Source
from covbench.system.disk import explain_full_disk, show_bytes

log = logging.getLogger(__name__)

__all__ = ["fetch_dataset"]


def fetch_dataset(name: str, card: Card, raw: Path, mirror: Path | None, recorded: Path = RECORDED) -> dict[str, Any]:
    """Bring a dataset into a folder and write its manifest beside it, `{raw}.manifest.json`.

    A dataset from a fixed source (GitHub, Zenodo, a version at Kaggle) that is unchanged in `raw` is not fetched again.
    `raw` is replaced as a whole at the end, and stays if it holds these files already. Until then, downloaded archives
    stay in `.downloads/{name}` beside it, so an interrupted fetch resumes. One process at a time fetches a dataset;
    others wait. It removes what killed ones left behind.

    Args:
        name: name of the dataset.
        card: the dataset's card.
        raw: folder of the dataset in data/raw.
        mirror: folder that holds datasets under their card's `mirror_folders`; None fetches from the card's source.
        recorded: folder of the manifests that travel with covbench.

    Returns:
        The manifest, {"files": {relative path: {"sha256", "size"}}, "source"}.

    Raises:
        CovbenchError: the source cannot be reached, is damaged, or holds other files than at an earlier fetch or than
            recorded. `raw` stays as it was.
    """
    raw.parent.mkdir(parents=True, exist_ok=True)
    downloads = raw.parent / ".downloads" / name
    with explain_full_disk(raw.parent, name), lock_fetch(raw):
        _clear_leftovers(raw)
        manifest = _find_unchanged(card, raw, mirror)
        if manifest is None:
            with _make_folder(raw) as new:
                manifest = _assemble(card, new, downloads, mirror)
                require_recorded_files(name, card, manifest, recorded)
                require_same_files(raw, manifest)
                _publish(raw, new, manifest)
        write_manifests(raw, manifest)
        shutil.rmtree(downloads, ignore_errors=True)
    sizes = [entry["size"] for entry in manifest["files"].values()]
    log.info("%s: %d files, %s, from %s", name, len(sizes), show_bytes(sum(sizes)), manifest["source"])
    return manifest


@contextmanager
def _make_folder(raw: Path) -> Iterator[Path]:
    """Yield a path beside `raw` that no other fetch uses, for a new folder. What is there at the end is removed."""
    work = Path(tempfile.mkdtemp(prefix=f".{raw.name}.", suffix=".new", dir=raw.parent))
    try:
        yield work / raw.name
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _assemble(card: Card, new: Path, downloads: Path, mirror: Path | None) -> dict[str, Any]:
    """Put the whole dataset into the new folder `new` and return its manifest."""
    if mirror is not None and not card.synthetic:
        origins = [_copy(find_in_mirror(card, mirror), new)]
        origins += _copy_annotations(card, mirror, new)
    else:
        if len(card.sources) != 1:
            raise CovbenchError(f"{card.title}: the card must have one source, not {len(card.sources)}")
        origins = [_bring(card.sources[0], new, downloads)]
        if card.annotations:
            origins.append(_bring(card.annotations.source, new / card.annotations.folder, downloads))
    refuse_lfs_pointers(new)
    manifest = build_manifest(new, AND.join(origins))
    if not manifest["files"]:
        raise CovbenchError(f"{manifest['source']} brought no files")
    return manifest


def _bring(source: Source, folder: Path, downloads: Path) -> str:
    """Put a source's files into a new folder, and name the source."""
    unpack_inner_archives(folder, bring_source(source, folder, downloads))
    return name_source(source)


def _copy(mirrored: Path, folder: Path) -> str:
    """Copy a folder of a mirror into a new folder, and name it."""
    unpack_inner_archives(folder, Allowance(copy_mirror(mirrored, folder)))
    return f"mirror folder {mirrored.name}"


def _copy_annotations(card: Card, mirror: Path, new: Path) -> Iterator[str]:
    """Copy the annotations of a dataset where a mirror holds them, and name their folder."""
    if card.annotations is None:
        return
    names = card.annotations.mirror_folders
    if mirrored := next((mirror / name for name in names if (mirror / name).is_dir()), None):
        yield _copy(mirrored, new / card.annotations.folder)
    else:
        wanted, source = " or ".join(names), name_source(card.annotations.source)
        log.info("%s: the mirror holds no %s, so the masks of %s are left out", card.title, wanted, source)


def _find_unchanged(card: Card, raw: Path, mirror: Path | None) -> dict[str, Any] | None:
    """Return the manifest of `raw` if it came from the same fixed source and no file has changed since."""
    first = read_first_manifest(raw)
    if first is None or mirror is not None or not all(map(is_fixed, card.all_sources)) or not raw.is_dir():
        return None
    if first["source"] != name_sources(card):
        return None
    present = build_manifest(raw, first["source"])
    if present != first:
        log.warning("%s has changed since it was fetched; fetching it again", raw)
        return None
    log.info("%s exists already, unchanged", raw)
    return present


def _publish(raw: Path, new: Path, manifest: dict[str, Any]) -> None:
    """Replace the folder `raw` by `new`. A `raw` that holds the same files stays, since others may be reading it."""
    if raw.is_dir() and build_manifest(raw, manifest["source"]) == manifest:
        log.info("%s holds these files already", raw)
        return
    old = _old_folder(raw)
    if os.path.lexists(raw):
        raw.rename(old)
    new.rename(raw)
    _remove(old)


def _clear_leftovers(raw: Path) -> None:
    """Remove what killed fetches left behind. One killed while it replaced `raw` left the old folder: it comes back."""
    old = _old_folder(raw)
    if os.path.lexists(old) and not os.path.lexists(raw):
        old.rename(raw)
        log.warning("%s: a fetch was killed while it replaced this folder; the old one is back", raw)
    for leftover in (
        *(old, raw.parent / f".{raw.name}.new", *raw.parent.glob(f".{raw.name}.*.new")),
        *(path for written in list_manifests(raw) for path in written.parent.glob(f".*.{written.name}")),
    ):
        if os.path.lexists(leftover):
            log.info("%s is removed: a killed fetch left it behind", leftover)
            _remove(leftover)


def _old_folder(raw: Path) -> Path:
    return raw.parent / f".{raw.name}.old"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
