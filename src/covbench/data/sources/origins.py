"""Bring one source of a dataset into a new folder, as published."""

from __future__ import annotations

import logging
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from covbench.data.sources.archives import Allowance, is_archive, lift_only_folder, unpack
from covbench.data.sources.downloads import download, find_wrong_sum, get_json
from covbench.data.sources.git_trees import hash_tree, read_tree_id
from covbench.data.sources.kaggle_archive import download_from_kaggle
from covbench.schema import Card, CovbenchError, GitHub, Kaggle, KaggleCompetition, Source, Synthetic, Zenodo
from covbench.system.disk import require_space

log = logging.getLogger(__name__)

GITHUB = "https://github.com"
ZENODO = "https://zenodo.org"
AND = " and "
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def name_source(source: Source) -> str:
    """Name the source in one line, for manifests and messages."""
    match source:
        case GitHub():
            return f"github {source.repository} @{source.commit}"
        case Kaggle():
            return f"kaggle dataset {source.dataset} version {source.version}"
        case KaggleCompetition():
            return f"kaggle competition {source.competition}"
        case Zenodo():
            return f"zenodo record {source.record}"
        case Synthetic():
            return f"synthetic data of {source.draw.__module__}"


def name_sources(card: Card) -> str:
    """Name all sources of a dataset in one line."""
    return AND.join(map(name_source, card.all_sources))


def is_fixed(source: Source) -> bool:
    """Return whether the source brings the same files whenever it is asked."""
    return isinstance(source, GitHub | Kaggle | Zenodo)


def bring_source(source: Source, folder: Path, downloads: Path) -> Allowance:
    """Bring a source's files into a new folder.

    Args:
        source: the source.
        folder: the folder to make.
        downloads: folder for archives, which stay there until the whole dataset is in place.

    Returns:
        What may still be unpacked of it.

    Raises:
        CovbenchError: the source cannot be reached, is damaged, or is not what the card says.
    """
    match source:
        case GitHub():
            return bring_github(source, folder, downloads)
        case Kaggle() | KaggleCompetition():
            return _unpack_download(download_from_kaggle(source, downloads), folder)
        case Zenodo():
            return bring_zenodo(source, folder, downloads)
        case Synthetic():
            folder.mkdir(parents=True)
            source.draw(folder)
            return Allowance(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))


def bring_github(source: GitHub, folder: Path, downloads: Path) -> Allowance:
    """Bring the files of a repository at one commit, without the archive's top folder.

    The files are verified by content: the id of their tree, computed from their bytes, has to be that of the commit.

    Args:
        source: repository and commit.
        folder: the folder to make.
        downloads: folder for the archive.

    Returns:
        What may still be unpacked of it.

    Raises:
        CovbenchError: the commit is not 40 hexadecimal digits, cannot be fetched, or the archive is damaged or holds
            other files than the commit.
    """
    if not re.fullmatch("[0-9a-f]{40}", source.commit):
        raise CovbenchError(f"github {source.repository}: commit {source.commit!r} is not 40 hexadecimal digits")
    tree = read_tree_id(f"{GITHUB}/{source.repository}.git", source.commit)
    archive = downloads / f"{source.repository.replace('/', '-')}-{source.commit}.zip"
    download(f"{GITHUB}/{source.repository}/archive/{source.commit}.zip", archive)
    allowance = _unpack_download(archive, folder)
    lift_only_folder(folder)
    found = hash_tree(folder, _list_executables(archive))
    if found != tree:
        archive.unlink()
        raise CovbenchError(
            f"github {source.repository}: the archive holds other files than commit {source.commit} (its tree is "
            f"{tree}, that of the files is {found}); it was removed, so run again. If the error remains, the "
            "repository has submodules or a .gitattributes that changes its archives: clone it and use fetch.mirror"
        )
    return allowance


def _list_executables(archive: Path) -> set[str]:
    """List the files of a zip that are marked as programs, by path without the top folder."""
    with zipfile.ZipFile(archive) as zipped:
        entries = [entry for entry in zipped.infolist() if not entry.is_dir() and (entry.external_attr >> 16) & 0o111]
    return {entry.filename.partition("/")[2] for entry in entries}


def bring_zenodo(source: Zenodo, folder: Path, downloads: Path) -> Allowance:
    """Bring the files of a Zenodo record that the card names, or all if it names none.

    Each file is verified by the record's md5 and by the card's own checksum.

    Args:
        source: record and files.
        folder: the folder to make.
        downloads: folder for the files while they are fetched.

    Returns:
        What may still be unpacked of them.

    Raises:
        CovbenchError: the record cannot be fetched, or does not hold the files with these checksums.
    """
    url = f"{ZENODO}/api/records/{source.record}"
    record = get_json(url)
    try:
        published = {
            entry["key"]: (entry["links"]["self"], entry["checksum"], entry["size"]) for entry in record["files"]
        }
    except (KeyError, TypeError) as error:
        raise CovbenchError(f"{url}: the answer lists no files with checksums ({error!r}); open it to check") from error
    _require_published(source, {name: checksum for name, (_, checksum, _) in published.items()})
    folder.mkdir(parents=True)
    for name in source.md5 or published:
        address, checksum, size = published[name]
        archive = downloads / name
        download(address, archive, checksum=checksum, size=size)
        if wrong := find_wrong_sum(archive, _pin(source, name)):
            archive.unlink()
            raise CovbenchError(f"zenodo record {source.record}: {name}: {wrong}; the file was removed")
        require_space(folder, size, name)
        shutil.copyfile(archive, folder / name)
    return Allowance(sum(path.stat().st_size for path in folder.iterdir()))


def _pin(source: Zenodo, name: str) -> str:
    """Return the card's own checksum of a file, `md5:…` or `sha256:…`; empty if it has none."""
    digits = source.md5.get(name, "")
    return digits if ":" in digits or not digits else f"md5:{digits}"


def _require_published(source: Zenodo, published: Mapping[str, str]) -> None:
    for name in source.md5:
        pin, stated = _pin(source, name), published.get(name, "none")
        if name not in published or (pin.startswith("md5:") and stated != pin):
            raise CovbenchError(
                f"zenodo record {source.record}: {name} should have {pin}, but the record states {stated}; "
                f"its files: {', '.join(sorted(published))}"
            )
    for name in source.md5 or published:
        if Path(name).name != name or name.startswith("."):
            raise CovbenchError(
                f"zenodo record {source.record}: {name!r} is not a plain file name; the record is refused"
            )


def _unpack_download(archive: Path, folder: Path) -> Allowance:
    """Unpack a download. A damaged one is removed, so that the next run fetches it again."""
    allowance = Allowance(archive.stat().st_size)
    if not is_archive(archive):
        folder.mkdir(parents=True)
        shutil.copyfile(archive, folder / archive.name)
        return allowance
    try:
        unpack(archive, folder, allowance)
    except CovbenchError as error:
        if "damaged" in str(error):
            archive.unlink()
        raise
    return allowance


def refuse_lfs_pointers(folder: Path) -> None:
    """Raise CovbenchError if a file is a git-LFS pointer, which holds a few lines of text in place of the content."""
    pointers = [path for path in folder.rglob("*") if path.is_file() and _is_lfs_pointer(path)]
    if pointers:
        names = ", ".join(sorted(str(path.relative_to(folder)) for path in pointers)[:5])
        raise CovbenchError(
            f"{len(pointers)} files are git-LFS pointers, not data: {names}; "
            "get the content with `git lfs pull` in a clone and give its parent folder as fetch.mirror"
        )


def _is_lfs_pointer(path: Path) -> bool:
    if path.stat().st_size > 1024:  # the format allows no larger pointer
        return False
    return path.read_bytes().startswith(LFS_POINTER)
