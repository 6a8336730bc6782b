"""Unpack zip and tar archives from the internet: all or nothing, within limits, and never outside the target folder."""

from __future__ import annotations

import gzip
import logging
import lzma
import re
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from covbench.schema import CovbenchError
from covbench.system.disk import require_space, show_bytes

log = logging.getLogger(__name__)

MAX_BYTES = 20 * 10**9  # unpacked; the largest dataset, 929 MedSeg slices as arrays, takes about 5 GB
MAX_FILES = 200_000  # the largest dataset, the radiography database with its masks, has 42,000
MAX_RATIO = 500  # unpacked / packed; one-hot masks were measured at 280, a deflate bomb reaches 1,030
HARMLESS_BYTES = 50 * 10**6  # below this the ratio does not matter
CHUNK = 2**20
ENDINGS = (".zip", ".tar.gz", ".tgz", ".tar")
MAC_RESOURCE_FORKS = "__MACOSX"  # ._name.png beside every name.png: not images
DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError),
    NotImplementedError,  # zipfile raises it for an unknown compression method
)


@dataclass(frozen=True)
class _Member:
    """One entry of an archive. `flaw` says why it cannot be accepted; it is empty if it can."""

    name: str
    size: int
    is_folder: bool
    flaw: str


def is_archive(path: Path) -> bool:
    """Return whether a name is that of a zip or tar archive."""
    return path.name.lower().endswith(ENDINGS)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into the new folder `folder`.

    Raises CovbenchError, and leaves nothing behind, if the archive is damaged, encrypted or too large. It does so too
    if an entry is a link or a device, points outside the folder, or differs from another entry in letter case only.
    """
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with _open_archive(archive) as (entries, open_member):
            members = _accept_members(archive, entries)
            require_space(folder.parent, sum(m.size for m in members), f"the content of {archive.name}")
            temporary.mkdir(parents=True)
            for member in tqdm(members, desc=f"unpack {archive.name}", unit="file", mininterval=1, leave=False):
                _write_member(member, open_member, temporary)
        temporary.rename(folder)
    except DAMAGED as error:
        raise CovbenchError(f"{archive}: damaged, or not a readable archive ({error}); fetch it again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def lift_only_folder(folder: Path, name: str = "") -> bool:
    """If `folder` holds one folder and nothing else, replace `folder` by that folder.

    name: the name that the inner folder must have; empty for any name.

    Returns whether the folder was replaced.
    """
    children = list(folder.iterdir())
    if len(children) != 1 or not children[0].is_dir() or name not in ("", children[0].name):
        return False
    lifted = children[0].rename(folder.with_name(f".{folder.name}.lifted"))
    folder.rmdir()
    lifted.rename(folder)
    return True


def unpack_inner_archives(folder: Path) -> None:
    """Replace each archive in `folder` by a folder of its name. Archives inside these stay packed.

    An archive is left alone if a folder of its name already exists beside it.
    """
    for archive in sorted(path for path in folder.rglob("*") if path.is_file() and is_archive(path)):
        stem = re.sub(r"\.(zip|tar\.gz|tgz|tar)$", "", archive.name, flags=re.IGNORECASE)
        target = archive.with_name(stem)
        if target.exists():
            log.info("%s is not unpacked: %s exists", archive.name, stem)
            continue
        unpack(archive, target)
        lift_only_folder(target, stem)
        archive.unlink()
        log.info("unpacked %s", archive.relative_to(folder))


@contextmanager
def _open_archive(archive: Path) -> Iterator[tuple[Iterable[_Member], Callable[[str], IO[bytes]]]]:
    """Yield the entries of an archive, and the function that opens one by name."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield map(_describe_zip_entry, zipped.infolist()), zipped.open
    else:
        with tarfile.open(archive, "r:*") as tarred:
            yield _read_tar_entries(tarred), tarred.extractfile  # type: ignore[misc]


def _describe_zip_entry(entry: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    flaw = ""
    if entry.flag_bits & 0x1:
        flaw = "is encrypted"
    elif entry.orig_filename != entry.filename:
        flaw = "has a control character in its name"  # zipfile cuts names at a NUL
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        flaw = "is a link" if kind == stat.S_IFLNK else "is not a regular file"
    return _Member(entry.filename, entry.file_size, entry.is_dir(), flaw)


def _read_tar_entries(tarred: tarfile.TarFile) -> Iterator[_Member]:
    yield from map(_describe_tar_entry, tarred)
    while tarred.fileobj and tarred.fileobj.read(CHUNK):  # gzip compares its checksum only at the very end
        pass


def _describe_tar_entry(entry: tarfile.TarInfo) -> _Member:
    flaw = ""
    if not (entry.isfile() or entry.isdir()):
        flaw = "is a link" if entry.issym() or entry.islnk() else "is not a regular file"
    return _Member(entry.name, entry.size if entry.isfile() else 0, entry.isdir(), flaw)


def _accept_members(archive: Path, entries: Iterable[_Member]) -> list[_Member]:
    """List the members to write. Reading stops at the first that is refused, so a bomb is not read to its end."""
    packed = archive.stat().st_size
    accepted: list[_Member] = []
    seen: dict[str, tuple[str, bool]] = {}
    total = 0
    for member in entries:
        if PurePosixPath(member.name).parts[:1] == (MAC_RESOURCE_FORKS,):
            continue
        total += member.size
        flaw = member.flaw or _find_flaw_in_name(member.name) or _find_conflict(member, seen)
        if flaw:
            raise CovbenchError(f"{archive}: entry {member.name!r} {flaw}; the archive is refused")
        accepted.append(member)
        if len(accepted) > MAX_FILES:
            raise CovbenchError(f"{archive}: more than {MAX_FILES} entries; the archive is refused")
        if total > MAX_BYTES or (total > HARMLESS_BYTES and total > packed * MAX_RATIO):
            raise CovbenchError(
                f"{archive}: {show_bytes(packed)} would become {show_bytes(total)} or more, beyond the limits of "
                f"{show_bytes(MAX_BYTES)} and {MAX_RATIO} to 1; the archive is refused"
            )
    return accepted


def _find_flaw_in_name(name: str) -> str:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "has a control character in its name"
    if name.startswith("/") or "\\" in name or re.match("[A-Za-z]:/", name):
        return "has an absolute name or a backslash"
    if ".." in PurePosixPath(name).parts:
        return "points outside the folder"
    return ""


def _find_conflict(member: _Member, seen: dict[str, tuple[str, bool]]) -> str:
    """Say if a path or one of its folders meets another under a different spelling, or as another kind.

    seen: caseless path -> its spelling and whether it is a folder. The member's paths are added.
    """
    path = PurePosixPath(member.name)
    for part in (path, *path.parents):
        is_folder = member.is_folder or part != path
        key = unicodedata.normalize("NFC", str(part)).casefold()
        if key not in seen:
            seen[key] = (str(part), is_folder)
            continue
        spelling, was_folder = seen[key]
        if spelling != str(part):
            return f"differs from {spelling!r} in letter case only"
        if not (is_folder and was_folder):
            return "appears twice"
    return ""


def _write_member(member: _Member, open_member: Callable[[str], IO[bytes]], folder: Path) -> None:
    target = folder / member.name
    if member.is_folder:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with open_member(member.name) as packed, open(target, "xb") as file:
        shutil.copyfileobj(packed, file, CHUNK)
    if target.stat().st_size != member.size:
        raise EOFError(f"{member.name} is shorter than the archive says")
