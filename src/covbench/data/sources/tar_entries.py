"""Read a tar archive strictly: every header is sound, the end mark is there, and nothing follows it.

The tarfile module is lenient. It takes a damaged header for the end, needs no end mark, and ignores what follows one.
So it reads a truncated, damaged or joined archive with files missing.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

CHUNK = 2**20
MAX_HEADER = 2**20  # bytes of a long name or of a pax header; the file system allows names of 4,096
MAX_PADDING = 2**20  # zeros after the end mark; tar itself fills up to 10,240 bytes
END_MARK = bytes(2 * tarfile.BLOCKSIZE)
EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class _Header(tarfile.TarInfo):
    """A header whose sizes are possible. tarfile reads an extended one into memory, however long it says it is."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in EXTENDED and header.size > MAX_HEADER):
            raise tarfile.ReadError(f"a header of {header.name!r} says {header.size} bytes")
        return header


@contextmanager
def open_tar(path: Path, packed: bool) -> Iterator[tarfile.TarFile]:
    """Open a tar archive. packed: whether it is packed with gzip."""
    with tarfile.open(path, "r:gz" if packed else "r:", tarinfo=_Header) as tarred:  # type: ignore[call-overload]
        yield tarred


def read_headers(tarred: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield every header, then read to the end. Raises tarfile.ReadError if the archive is damaged or cut off."""
    for header in tarred:
        if header.size < 0:
            raise tarfile.ReadError(f"{header.name!r} has a negative size")
        yield header
    assert tarred.fileobj is not None
    tarred.fileobj.seek(tarred.offset)  # type: ignore[attr-defined]
    if tarred.fileobj.read(len(END_MARK)) != END_MARK:
        raise tarfile.ReadError("its end mark is missing, or a header is damaged")
    padding = 0
    while chunk := tarred.fileobj.read(CHUNK):  # to the very end, where gzip compares its checksum
        padding += len(chunk)
        if chunk.count(0) != len(chunk) or padding > MAX_PADDING:
            raise tarfile.ReadError("other bytes follow its end mark; was another archive joined to it?")


def read_content(tarred: tarfile.TarFile, header: tarfile.TarInfo) -> Iterator[bytes]:
    """Yield the bytes of an entry that is a file. Raises tarfile.ReadError if the archive ends before it."""
    content = tarred.extractfile(header)
    assert content is not None
    while chunk := content.read(CHUNK):
        yield chunk


def find_flaw(header: tarfile.TarInfo) -> str:
    """Say why an entry cannot be accepted; empty if it can."""
    if header.issym() or header.islnk():
        return "is a link"
    if header.issparse():
        return "is a sparse file"
    return "" if header.isfile() or header.isdir() else "is not a regular file"
