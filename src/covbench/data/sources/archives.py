"""Unpack zip and tar archives from the internet: all or nothing, within limits, and never outside the target folder."""

from __future__ import annotations

import gzip
import logging
import re
import shutil
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from covbench.data.sources.tar_entries import find_flaw, open_tar, read_content, read_headers
from covbench.data.sources.zip_entries import Contradiction, ZipEntry, read_bytes, read_entries
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
MAX_NAME, MAX_PATH = 255, 1024  # bytes; what file systems allow of a name, and of a path less the folder's own
ZIP_MAGIC = (b"PK\3\4", b"PK\5\6")  # of the first entry, or of the end of an empty archive
GZIP_MAGIC = b"\x1f\x8b"
DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError),
    *(Contradiction, NotImplementedError),  # zipfile raises the last for a version that it does not know
)


@dataclass
class Allowance:
    """What may still be unpacked of a dataset, in all archives together, also in those inside others.

    packed: bytes that came from outside. unpacked: bytes that archives have given so far. files: their number.
    """

    packed: int
    unpacked: int = 0
    files: int = 0

    def charge(self, archive: Path, size: int) -> None:
        """Count one more file of `size` bytes. Raises CovbenchError beyond a limit."""
        self.files, self.unpacked = self.files + 1, self.unpacked + size
        if self.files > MAX_FILES:
            raise CovbenchError(f"{archive}: more than {MAX_FILES} entries; the archive is refused")
        bomb = self.unpacked > HARMLESS_BYTES and self.unpacked > self.packed * MAX_RATIO
        if bomb or self.unpacked > MAX_BYTES:
            raise CovbenchError(
                f"{archive}: {show_bytes(self.packed)} would become {show_bytes(self.unpacked)} or more, beyond the "
                f"limits of {show_bytes(MAX_BYTES)} and {MAX_RATIO} to 1 for all archives together; it is refused"
            )


@dataclass(frozen=True)
class _Member:
    """One entry of an archive. `flaw` says why it cannot be accepted; it is empty if it can."""

    name: str
    size: int
    is_folder: bool
    flaw: str
    entry: Any  # what its reader needs


def is_archive(path: Path) -> bool:
    """Return whether a name is that of a zip or tar archive."""
    return path.name.lower().endswith(ENDINGS)


def unpack(archive: Path, folder: Path, allowance: Allowance | None = None) -> None:
    """Unpack a zip or tar archive into the new folder `folder`.

    Args:
        archive: the archive; its suffix says of which kind it is.
        folder: the folder to make.
        allowance: what may still be unpacked; None for an archive by itself.

    Raises:
        CovbenchError: the archive is damaged, cut off, joined to another, encrypted or too large, or its parts
            contradict each other. So does an entry that is a link or a device, points outside the folder, or differs
            from another entry in letter case only. Nothing is left behind.
    """
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with _open_archive(archive) as (members, read_member):
            accepted = _accept_members(archive, members, allowance or Allowance(archive.stat().st_size))
            require_space(folder.parent, sum(m.size for m in accepted), f"the content of {archive.name}")
            temporary.mkdir(parents=True)
            for member in tqdm(accepted, desc=f"unpack {archive.name}", unit="file", mininterval=1, leave=False):
                _write_member(member, read_member, temporary)
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


def unpack_inner_archives(folder: Path, allowance: Allowance | None = None) -> None:
    """Replace each archive in `folder` by a folder of its name. Archives inside these stay packed.

    An archive is left alone if a folder of its name already exists beside it.

    Args:
        folder: the folder.
        allowance: what may still be unpacked; None for the archives in the folder by themselves.

    Raises:
        CovbenchError: an archive is refused.
    """
    archives = sorted(path for path in folder.rglob("*") if path.is_file() and is_archive(path))
    allowance = allowance or Allowance(sum(path.stat().st_size for path in archives))
    for archive in archives:
        stem = re.sub(r"\.(zip|tar\.gz|tgz|tar)$", "", archive.name, flags=re.IGNORECASE)
        target = archive.with_name(stem)
        if target.exists():
            log.info("%s is not unpacked: %s exists", archive.name, stem)
            continue
        unpack(archive, target, allowance)
        lift_only_folder(target, stem)
        archive.unlink()
        log.info("unpacked %s", archive.relative_to(folder))


@contextmanager
def _open_archive(archive: Path) -> Iterator[tuple[Iterable[_Member], Callable[[_Member], Iterable[bytes]]]]:
    """Yield the entries of an archive, and the function that reads the bytes of one."""
    with open(archive, "rb") as file:
        start = file.read(4)
        if archive.name.lower().endswith(".zip") != start.startswith(ZIP_MAGIC):
            raise CovbenchError(
                f"{archive}: damaged, or not a readable archive (its first bytes are not those of its suffix; is it an "
                "error page, or an archive of another kind?); fetch it again"
            )
        if start.startswith(ZIP_MAGIC):
            yield map(_describe_zip_entry, read_entries(archive)), lambda member: read_bytes(file, member.entry)
            return
    with open_tar(archive, packed=start.startswith(GZIP_MAGIC)) as tarred:
        yield map(_describe_tar_entry, read_headers(tarred)), lambda member: read_content(tarred, member.entry)


def _describe_zip_entry(entry: ZipEntry) -> _Member:
    return _Member(entry.info.filename, entry.info.file_size, entry.info.is_dir(), entry.flaw, entry)


def _describe_tar_entry(header: tarfile.TarInfo) -> _Member:
    size = header.size if header.isfile() else 0
    return _Member(header.name, size, header.isdir(), find_flaw(header), header)


def _accept_members(archive: Path, members: Iterable[_Member], allowance: Allowance) -> list[_Member]:
    """List the members to write. Reading stops at the first that is refused, so a bomb is not read to its end."""
    accepted: list[_Member] = []
    seen: dict[str, tuple[str, bool]] = {}
    for member in members:
        if PurePosixPath(member.name).parts[:1] == (MAC_RESOURCE_FORKS,):
            continue
        flaw = member.flaw or _find_flaw_in_name(member.name) or _find_conflict(member, seen)
        if flaw:
            raise CovbenchError(f"{archive}: entry {member.name!r} {flaw}; the archive is refused")
        allowance.charge(archive, member.size)
        accepted.append(member)
    return accepted


def _find_flaw_in_name(name: str) -> str:
    parts = PurePosixPath(name).parts
    if not name:
        return "has no name"
    if len(name.encode(errors="replace")) > MAX_PATH or any(len(p.encode(errors="replace")) > MAX_NAME for p in parts):
        return "has too long a name"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return "has a control character in its name"
    if name.startswith("/") or "\\" in name or re.match("[A-Za-z]:/", name):
        return "has an absolute name or a backslash"
    if ".." in parts:
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


def _write_member(member: _Member, read_member: Callable[[_Member], Iterable[bytes]], folder: Path) -> None:
    target = folder / member.name
    if member.is_folder:
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "xb") as file:
        for chunk in read_member(member):
            file.write(chunk)
    if target.stat().st_size != member.size:
        raise EOFError(f"{member.name} is shorter than the archive says")
