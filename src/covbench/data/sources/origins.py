"""Bring one source of a dataset into a new folder, as published."""

from __future__ import annotations

import logging
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tqdm import tqdm

from covbench.data.sources.archives import is_archive, lift_only_folder, unpack
from covbench.data.sources.downloads import download, find_wrong_sum, get_json
from covbench.data.sources.kaggle_archive import download_from_kaggle
from covbench.schema import Card, CovbenchError, GitHub, Kaggle, KaggleCompetition, Source, Synthetic, Zenodo
from covbench.system.disk import require_space

log = logging.getLogger(__name__)

GITHUB = "https://github.com"
ZENODO = "https://zenodo.org"
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
NOT_DATA = (".git",)  # in a mirror that is a clone


def name_source(source: Source) -> str:
    """Name the source in one line, for manifests and messages."""
    match source:
        case GitHub():
            return f"github {source.repository} @{source.commit}"
        case Kaggle():
            return f"kaggle dataset {source.dataset}"
        case KaggleCompetition():
            return f"kaggle competition {source.competition}"
        case Zenodo():
            return f"zenodo record {source.record}"
        case Synthetic():
            return f"synthetic data of {source.draw.__module__}"


def bring_source(source: Source, folder: Path, downloads: Path) -> None:
    """Bring a source's files into a new folder.

    Args:
        source: the source.
        folder: the folder to make.
        downloads: folder for archives, which stay there until the whole dataset is in place.

    Raises:
        CovbenchError: the source cannot be reached, is damaged, or is not what the card says.
    """
    match source:
        case GitHub():
            bring_github(source, folder, downloads)
        case Kaggle() | KaggleCompetition():
            archive = download_from_kaggle(source, downloads)
            _unpack_download(archive, folder)
        case Zenodo():
            bring_zenodo(source, folder, downloads)
        case Synthetic():
            folder.mkdir(parents=True)
            source.draw(folder)


def bring_github(source: GitHub, folder: Path, downloads: Path) -> None:
    """Bring the files of a repository at one commit, without the archive's top folder.

    Args:
        source: repository and commit.
        folder: the folder to make.
        downloads: folder for the archive.

    Raises:
        CovbenchError: the commit is not 40 hexadecimal digits, or the archive cannot be fetched, is damaged or is of
            another commit.
    """
    if not re.fullmatch("[0-9a-f]{40}", source.commit):
        raise CovbenchError(f"github {source.repository}: commit {source.commit!r} is not 40 hexadecimal digits")
    archive = downloads / f"{source.repository.replace('/', '-')}-{source.commit}.zip"
    download(f"{GITHUB}/{source.repository}/archive/{source.commit}.zip", archive)
    _unpack_download(archive, folder)
    with zipfile.ZipFile(archive) as zipped:
        commit = zipped.comment.decode("ascii", errors="replace")  # git archive writes it there
    if commit != source.commit:
        archive.unlink()
        raise CovbenchError(f"github {source.repository}: the archive is of commit {commit!r}, not {source.commit}")
    lift_only_folder(folder)


def bring_zenodo(source: Zenodo, folder: Path, downloads: Path) -> None:
    """Bring the files of a Zenodo record that the card names, or all if it names none.

    Each file is verified by the record's md5 and by the card's own checksum.

    Args:
        source: record and files.
        folder: the folder to make.
        downloads: folder for the files while they are fetched.

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


def _unpack_download(archive: Path, folder: Path) -> None:
    """Unpack a download. A damaged one is removed, so that the next run fetches it again."""
    if not is_archive(archive):
        folder.mkdir(parents=True)
        shutil.copyfile(archive, folder / archive.name)
        return
    try:
        unpack(archive, folder)
    except CovbenchError as error:
        if "damaged" in str(error):
            archive.unlink()
        raise


def find_in_mirror(card: Card, mirror: Path) -> Path:
    """Return the first of the card's mirror folders that exists in `mirror`. Raises CovbenchError if none does."""
    if not mirror.is_dir():
        raise CovbenchError(f"fetch.mirror: {mirror} is not a folder")
    for name in card.mirror_folders:
        if (mirror / name).is_dir():
            return mirror / name
    raise CovbenchError(
        f"fetch.mirror: {mirror} holds no folder named {' or '.join(card.mirror_folders)} for {card.title!r}; "
        "put it there under one of these names"
    )


def copy_mirror(mirrored: Path, folder: Path) -> None:
    """Copy a mirrored dataset unchanged into the new folder `folder`. Links are followed."""
    files = list(_list_files(mirrored))
    if not files:
        raise CovbenchError(f"fetch.mirror: {mirrored} holds no files")
    require_space(folder.parent, sum(path.stat().st_size for path in files), f"a copy of {mirrored}")
    folder.mkdir(parents=True)
    for path in tqdm(files, desc=f"copy {mirrored.name}", unit="file", mininterval=1, leave=False):
        target = folder / path.relative_to(mirrored)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _list_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name not in NOT_DATA:
                yield from _list_files(path)
        elif path.is_file():
            yield path
        else:
            raise CovbenchError(
                f"fetch.mirror: {path} is neither a file nor a folder (a broken link?); repair or remove it"
            )


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
