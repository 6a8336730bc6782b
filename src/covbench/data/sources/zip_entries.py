"""Read a zip archive strictly: its directory, its local headers and its bytes have to agree, and cover the whole file.

The zipfile module is lenient. It ignores what stands before the first entry and after the end, so two zips in one file
are read as the second, and it takes sizes from the directory alone.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CHUNK = 2**20
LOCAL = struct.Struct(
    "<4s2xHHHHLLLHH"
)  # signature, flags, method, time, date, CRC, packed, size, lengths of name, extra
END = struct.Struct(
    "<4sHHHHLLH"
)  # signature, disks, entries on this disk, entries, size and offset of directory, comment
END_64 = struct.Struct("<4sQ2x2xLLQQQQ")  # signature, length, disks, entries on this disk, entries, size, offset
LOCATOR_64 = struct.Struct("<4sLQL")  # signature, disk, offset of END_64, disks
ENCRYPTED, STREAMED, UTF8 = 0x1, 0x8, 0x800  # bits of the flags
FULL_16, FULL_32 = 0xFFFF, 0xFFFFFFFF  # the true value stands in a zip64 field
ZIP64_EXTRA = 1


class Contradiction(Exception):
    """Two parts of a zip archive disagree, or bytes belong to no entry."""


@dataclass(frozen=True)
class ZipEntry:
    """One entry: what the directory says of it, and where its packed bytes begin."""

    info: zipfile.ZipInfo
    start: int

    @property
    def flaw(self) -> str:
        """Why it cannot be accepted; empty if it can."""
        kind = stat.S_IFMT(self.info.external_attr >> 16)
        if self.info.flag_bits & ENCRYPTED:
            return "is encrypted"
        if self.info.orig_filename != self.info.filename:
            return "has a control character in its name"  # zipfile cuts names at a NUL
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            return "is a link" if kind == stat.S_IFLNK else "is not a regular file"
        if self.info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return f"is packed with method {self.info.compress_type}; methods 0 and 8 are read"
        if self.info.is_dir() and self.info.file_size:
            return "is a folder that holds data"
        return ""


def read_entries(path: Path) -> list[ZipEntry]:
    """List the entries of a zip archive in the order of its directory.

    Raises Contradiction, or zipfile.BadZipFile, if its parts disagree or do not cover the file.
    """
    try:
        zipped = zipfile.ZipFile(path)
    except ValueError as error:  # a name that is not UTF-8, a negative offset
        raise Contradiction(str(error)) from error
    with zipped, open(path, "rb") as file:
        infos = zipped.infolist()
        directory = _find_directory(file, path.stat().st_size, zipped.comment, len(infos))
        starts, position = {}, 0
        for info in sorted(infos, key=lambda info: info.header_offset):
            if info.header_offset != position:
                raise Contradiction(f"bytes {position} to {info.header_offset} belong to no entry or to two")
            start, position = _read_header(file, info)
            starts[info.header_offset] = start
        if position != directory:
            raise Contradiction(f"bytes {position} to {directory} belong to no entry or to two")
        return [ZipEntry(info, starts[info.header_offset]) for info in infos]


def read_bytes(file: IO[bytes], entry: ZipEntry) -> Iterator[bytes]:
    """Yield the unpacked bytes of an entry, never more than it announces.

    Raises Contradiction if they are fewer or more, their CRC differs, or packed bytes are left over.
    """
    info, size, crc = entry.info, 0, 0
    for chunk in _unpack_bytes(file, entry):
        size, crc = size + len(chunk), zlib.crc32(chunk, crc)
        if size > info.file_size:
            raise Contradiction(f"{info.filename} is longer than the {info.file_size} bytes that it announces")
        yield chunk
    if size != info.file_size:
        raise Contradiction(f"{info.filename} has {size} bytes instead of {info.file_size}")
    if crc != info.CRC:
        raise Contradiction(f"{info.filename} has another CRC than it announces")


def _unpack_bytes(file: IO[bytes], entry: ZipEntry) -> Iterator[bytes]:
    file.seek(entry.start)
    left = entry.info.compress_size
    if not left and not entry.info.file_size:
        return
    inflate = zlib.decompressobj(-15) if entry.info.compress_type == zipfile.ZIP_DEFLATED else None
    while left:
        packed = file.read(min(CHUNK, left))
        if not packed:
            raise EOFError(f"{entry.info.filename} is cut off")
        left -= len(packed)
        if inflate is None:
            yield packed
            continue
        while packed and not inflate.eof:
            yield inflate.decompress(packed, CHUNK)
            packed = inflate.unconsumed_tail
        if inflate.unused_data or packed:
            raise Contradiction(f"{entry.info.filename} is followed by bytes that belong to no entry")
    if inflate is not None:
        yield from iter(lambda: inflate.decompress(b"", CHUNK), b"")
        if not inflate.eof:
            raise Contradiction(f"the packed bytes of {entry.info.filename} end too early")


def _find_directory(file: IO[bytes], size: int, comment: bytes, count: int) -> int:
    """Return where the directory begins, by what the end record and, in large archives, the zip64 records say.

    Args:
        file: the archive.
        size: its size in bytes.
        comment: its comment as zipfile reads it.
        count: number of its entries as zipfile reads them.

    Raises:
        Contradiction: the records disagree with each other, with the count or with the end of the file.
    """
    end = size - END.size - len(comment)
    signature, disk, first_disk, here, entries, length, offset, comment_length = END.unpack(_read(file, end, END.size))
    if signature != b"PK\5\6" or comment_length != len(comment):
        raise Contradiction("its end is cut off, or other bytes follow")
    if (disk, first_disk) not in ((0, 0), (FULL_16, FULL_16)):
        raise Contradiction("it is one part of several")
    locator = end - LOCATOR_64.size
    if locator >= END_64.size and _read(file, locator, 4) == b"PK\6\7":
        end = LOCATOR_64.unpack(_read(file, locator, LOCATOR_64.size))[2]
        record = END_64.unpack(_read(file, end, END_64.size))
        if record[0] != b"PK\6\6" or end + 12 + record[1] != locator:
            raise Contradiction("its zip64 records do not meet")
        narrow, (here, entries, length, offset) = (here, entries, length, offset), record[4:]
        for short, full, wide in zip(narrow, (FULL_16,) * 2 + (FULL_32,) * 2, record[4:], strict=True):
            if short not in (wide, full):
                raise Contradiction(f"its end says {short} and its zip64 record {wide}")
    if not here == entries == count:
        raise Contradiction(f"it announces {entries} entries and lists {count}")
    if offset + length != end:
        raise Contradiction(f"{end - offset - length} bytes more than it knows of stand before its directory")
    return offset


def _read_header(file: IO[bytes], info: zipfile.ZipInfo) -> tuple[int, int]:
    """Return where an entry's packed bytes begin and where it ends. Its local header has to agree with `info`."""
    fields = LOCAL.unpack(_read(file, info.header_offset, LOCAL.size))
    signature, flags, method, _, _, crc, packed, size, name_length, extra_length = fields
    name = _read(file, info.header_offset + LOCAL.size, name_length)
    extra = _read(file, info.header_offset + LOCAL.size + name_length, extra_length)
    start = info.header_offset + LOCAL.size + name_length + extra_length
    end = start + info.compress_size
    expected = info.orig_filename.encode("utf-8" if info.flag_bits & UTF8 else "cp437")
    if signature != b"PK\3\4" or name != expected:
        raise Contradiction(f"the local header of {info.filename!r} names {name!r}")
    hidden = flags & ENCRYPTED and not info.flag_bits & ENCRYPTED  # the reverse is refused as encrypted
    if method != info.compress_type or hidden or (flags ^ info.flag_bits) & STREAMED:
        raise Contradiction(f"the local header of {info.filename!r} says another method or other flags")
    size, packed = _widen(extra, size, packed)
    sums = (info.CRC, info.compress_size, info.file_size)
    if not flags & STREAMED:
        if (crc, packed, size) != sums:
            raise Contradiction(f"the local header of {info.filename!r} says another size or CRC than the directory")
        return start, end
    if any(said not in (0, known) for said, known in zip((crc, packed, size), sums, strict=True)):
        raise Contradiction(f"the local header of {info.filename!r} says another size or CRC than the directory")
    return start, end + _measure_descriptor(file, end, sums, info.filename)


def _widen(extra: bytes, size: int, packed: int) -> tuple[int, int]:
    """Take size and packed size from the zip64 field of a local header if the header leaves them to it."""
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        if kind == ZIP64_EXTRA:
            values = [value for (value,) in struct.iter_unpack("<Q", extra[4 : 4 + length // 8 * 8])]
            if size == FULL_32 and values:
                size = values.pop(0)
            if packed == FULL_32 and values:
                packed = values.pop(0)
        extra = extra[4 + length :]
    return size, packed


def _measure_descriptor(file: IO[bytes], position: int, sums: tuple[int, int, int], name: str) -> int:
    """Return the length of the record after an entry of unknown size: CRC and sizes, which have to be `sums`."""
    for layout in ("<4sLQQ", "<4sLLL", "<LQQ", "<LLL"):
        form = struct.Struct(layout)
        try:
            expected = form.pack(*([b"PK\7\x08"] if "s" in layout else []), *sums)
        except struct.error:  # larger than 4 GB
            continue
        if _read(file, position, form.size) == expected:
            return form.size
    raise Contradiction(f"the record behind {name!r} says another size or CRC than the directory")


def _read(file: IO[bytes], position: int, length: int) -> bytes:
    """Read bytes at a position. Raises Contradiction if the file ends before."""
    file.seek(max(position, 0))
    found = file.read(length)
    if len(found) != length or position < 0:
        raise Contradiction("it is cut off")
    return found
