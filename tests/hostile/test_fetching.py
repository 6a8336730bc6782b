"""Archives, servers, mirrors and repositories that are damaged or lie, each with what covbench has to make of it.

An answer is either the files that come out, by path, or the words of the error.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import json
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import pytest

from covbench.data.sources import downloads, fetch_dataset, mirrors, origins
from covbench.data.sources.archives import unpack, unpack_inner_archives
from covbench.data.sources.downloads import download, get_json
from covbench.data.sources.pretrained_weights import Weights, fetch_weights
from covbench.schema import CovbenchError, GitHub, Synthetic, Zenodo
from tests.git_hosting import publish
from tests.local_server import LocalServer, Served
from tests.small_datasets import make_card, read_tree, write_tree, zip_bytes

Files = dict[str, bytes]
Answer = Files | str
CONTENT = bytes(range(256)) * 40
ONE = {"a.png": CONTENT}


def answer(action: Callable[[], Any], folder: Path) -> Answer:
    """The files that an action leaves in a folder, or the words of its error, after which there is no folder."""
    try:
        action()
    except CovbenchError as error:
        assert not folder.exists()
        return str(error)
    return read_tree(folder)


def assert_answer(given: Answer, demanded: Answer) -> None:
    assert type(given) is type(demanded), given
    assert demanded in given if isinstance(given, str) else given == demanded


# --- zip ---

LOCAL, CENTRAL, END = b"PK\3\4", b"PK\1\2", b"PK\5\6"


def pack(files: Files, method: int = zipfile.ZIP_DEFLATED, **attributes: Any) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as zipped:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = method
            for key, value in attributes.items():
                setattr(entry, key, value)
            zipped.writestr(entry, content)
    return packed.getvalue()


def patch(packed: bytes, *changes: tuple[bytes, int, str, int]) -> bytes:
    """Change numbers of the first record of a kind: signature, offset in it, struct format, value."""
    changed = bytearray(packed)
    for signature, offset, layout, value in changes:
        struct.pack_into(layout, changed, changed.index(signature) + offset, value)
    return bytes(changed)


def stream(files: Files) -> bytes:
    """A zip as a program writes it that cannot go back: the sizes stand behind each entry."""

    class OneWay(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: Any) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    packed = OneWay()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return packed.getvalue()


def pack_zip64(files: Files) -> bytes:
    """A zip whose local headers leave the sizes to zip64 fields."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        for name, content in files.items():
            with zipped.open(name, "w", force_zip64=True) as entry:
                entry.write(content)
    return packed.getvalue()


def end_in_zip64(packed: bytes, entries: int) -> bytes:
    """The zip with zip64 records at its end, which announce so many entries."""
    end = packed.index(END)
    size, offset = struct.unpack("<LL", packed[end + 12 : end + 20])
    record = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, entries, entries, size, offset)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    return packed[:end] + record + locator + patch(packed[end:], (END, 16, "<L", 0xFFFFFFFF))


def hide_an_entry() -> bytes:
    """A zip of two entries whose directory lists the second only."""
    packed = pack({"hidden.png": b"x", "a.png": CONTENT})
    first = packed.index(CENTRAL)
    second = packed.index(CENTRAL, first + 1)
    end = packed.index(END)
    shorter = packed[:first] + packed[second:]
    return patch(shorter, (END, 8, "<H", 1), (END, 10, "<H", 1), (END, 12, "<L", end - second))


def list_an_entry_twice() -> bytes:
    """A zip of two names for the same bytes, as the bombs whose entries overlap."""
    packed = pack(ONE)
    first, end = packed.index(CENTRAL), packed.index(END)
    again = packed[first:end].replace(b"a.png", b"b.png")
    longer = packed[:end] + again + packed[end:]
    return patch(longer, (END, 8, "<H", 2), (END, 10, "<H", 2), (END, 12, "<L", 2 * (end - first)))


def cut_the_sum_to(length: int) -> bytes:
    """A zip that announces the first bytes only, with their true CRC."""
    sums = [(LOCAL, 14), (CENTRAL, 16)]
    changes = [(kind, at, "<L", zipfile.crc32(CONTENT[:length])) for kind, at in sums]
    return patch(pack(ONE), *changes, *((kind, at + 8, "<L", length) for kind, at in sums))


SIZE_LIE = (LOCAL, 22, "<L", 7)
ZIPS: dict[str, tuple[Callable[[], bytes], Answer]] = {
    "whole": (lambda: pack(ONE), ONE),
    "stored": (lambda: pack(ONE, zipfile.ZIP_STORED), ONE),
    "streamed, with sizes behind the entries": (
        lambda: stream(ONE | {"b.png": b"", "c.png": b"c"}),
        ONE | {"b.png": b"", "c.png": b"c"},
    ),
    "sizes in zip64 fields": (lambda: pack_zip64(ONE), ONE),
    "zip64 records at the end": (lambda: end_in_zip64(pack(ONE), 1), ONE),
    "zip64 record that lies about the entries": (lambda: end_in_zip64(pack(ONE), 2), "says 1 and its zip64 record 2"),
    "without entries": (lambda: pack({}), {}),
    "cut in the directory": (lambda: pack(ONE)[:-40], "damaged"),
    "cut in the comment": (lambda: zip_bytes(ONE, "comment")[:-3], "its end is cut off"),
    "bytes behind the end": (lambda: pack(ONE) + b"more", "other bytes follow"),
    "two joined": (lambda: pack({"lost.png": b"x"}) + pack(ONE), "more than it knows of"),
    "a program in front": (lambda: b"PK\3\4#!/bin/sh" + pack(ONE), "more than it knows of"),
    "an entry that the directory does not list": (hide_an_entry, "belong to no entry"),
    "two entries of the same bytes": (list_an_entry_twice, "belong to no entry or to two"),
    "another name in the local header": (lambda: pack(ONE).replace(b"a.png", b"b.png", 1), "names b'b.png'"),
    "another size in the local header": (lambda: patch(pack(ONE), SIZE_LIE), "another size or CRC than the directory"),
    "another CRC in the local header": (lambda: patch(pack(ONE), (LOCAL, 14, "<L", 7)), "another size or CRC"),
    "another method in the local header": (lambda: patch(pack(ONE), (LOCAL, 8, "<H", 0)), "another method"),
    "encrypted in the local header only": (lambda: patch(pack(ONE), (LOCAL, 6, "<H", 1)), "other flags"),
    "encrypted": (lambda: patch(pack(ONE), (CENTRAL, 8, "<H", 1)), "is encrypted"),
    "another CRC than the content": (
        lambda: patch(pack(ONE), (LOCAL, 14, "<L", 7), (CENTRAL, 16, "<L", 7)),
        "another CRC than it announces",
    ),
    "content longer than announced, with the CRC of its beginning": (
        lambda: cut_the_sum_to(100),
        "longer than the 100",
    ),
    "content shorter than announced": (
        lambda: patch(pack(ONE), (LOCAL, 22, "<L", 99_999), (CENTRAL, 24, "<L", 99_999)),
        "bytes instead of 99999",
    ),
    "a record behind an entry that lies": (
        lambda: patch(stream(ONE), (b"PK\7\x08", 12, "<L", 7)),
        "the record behind 'a.png' says another size",
    ),
    "one entry announced, two there": (
        lambda: patch(pack(ONE | {"b": b""}), (END, 8, "<H", 1), (END, 10, "<H", 1)),
        "announces 1 entries and lists 2",
    ),
    "the second disk of two": (lambda: patch(pack(ONE), (END, 4, "<H", 1)), "one part of several"),
    "packed with bzip2": (lambda: pack(ONE, zipfile.ZIP_BZIP2), "is packed with method 12"),
    "a link": (lambda: pack({"a": b"/etc"}, external_attr=(stat.S_IFLNK | 0o777) << 16), "is a link"),
    "a device": (lambda: pack({"a": b""}, external_attr=(stat.S_IFBLK | 0o666) << 16), "is not a regular file"),
    "a folder that holds data": (lambda: pack({"a/": b"x"}, zipfile.ZIP_STORED), "is a folder that holds data"),
    "a name that is not UTF-8": (lambda: pack({"é.png": b"x"}).replace("é".encode(), b"\xff\xfe"), "damaged"),
    "a name of 300 bytes": (lambda: pack({"a" * 300: b"x"}), "has too long a name"),
    "a path of 2,000 bytes": (lambda: pack({"a/" * 1000 + "b": b"x"}), "has too long a name"),
    "no name": (lambda: pack({"aa": b"x"}).replace(b"aa", b".."), "points outside the folder"),
    "a tar": (lambda: tar({"a.png": CONTENT}), "its first bytes are not those of its suffix"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("make", "demanded"), ZIPS.values(), ids=ZIPS)
def test_a_zip_is_read_right_or_refused(tmp_path, make, demanded):
    (tmp_path / "a.zip").write_bytes(make())
    assert_answer(answer(lambda: unpack(tmp_path / "a.zip", tmp_path / "out"), tmp_path / "out"), demanded)


# --- tar ---


def tar(files: Files, layout: int = tarfile.PAX_FORMAT, **attributes: Any) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=layout) as tarred:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            for key, value in attributes.items():
                setattr(entry, key, value)
            tarred.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def sign(header: bytes) -> bytes:
    """A tar header with its checksum made right."""
    blank = header[:148] + b" " * 8 + header[156:]
    return blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]


def change_header(packed: bytes, start: int, value: bytes) -> bytes:
    """Change bytes of the first header, with a right checksum."""
    return sign(packed[:start] + value + packed[start + len(value) : 512]) + packed[512:]


TWO = {"a.png": CONTENT, "b.png": b"b" * 700}
SECOND = 512 + len(CONTENT)  # where the header of b.png begins
END_OF_TWO = SECOND + 512 + 1024
TARS: dict[str, tuple[Callable[[], bytes], Answer]] = {
    "whole": (lambda: tar(TWO), TWO),
    "of the old kind": (lambda: tar(TWO, tarfile.USTAR_FORMAT), TWO),
    "names beginning with ./": (lambda: tar({"./a.png": b"x"}), {"a.png": b"x"}),
    "a long name of two alphabets": (lambda: tar({"ö漢" * 40: b"x"}), {"ö漢" * 40: b"x"}),
    "packed": (lambda: gzip.compress(tar(TWO)), TWO),
    "whose last file is a zip": (lambda: tar({"a.zip": pack(ONE)}), {"a.zip": pack(ONE)}),
    "cut in a file": (lambda: tar(TWO)[:5000], "damaged"),
    "cut in the last file": (lambda: tar(TWO)[: SECOND + 512 + 100], "damaged"),
    "cut before the second file": (lambda: tar(TWO)[:SECOND], "its end mark is missing"),
    "cut in the second header": (lambda: tar(TWO)[: SECOND + 100], "its end mark is missing"),
    "cut before the end mark": (lambda: tar(TWO)[:END_OF_TWO], "its end mark is missing"),
    "half an end mark": (lambda: tar(TWO)[: END_OF_TWO + 512], "its end mark is missing"),
    "a damaged second header": (
        lambda: tar(TWO)[: SECOND + 10] + b"?" + tar(TWO)[SECOND + 11 :],
        "its end mark is missing, or a header is damaged",
    ),
    "zeros in place of the second header": (
        lambda: tar(TWO)[:SECOND] + bytes(1024) + tar(TWO)[SECOND + 1024 :],
        "other bytes follow its end mark",
    ),
    "two joined": (lambda: tar(ONE) + tar({"lost.png": b"x"}), "was another archive joined to it?"),
    "two joined and packed each": (lambda: gzip.compress(tar(ONE)) + gzip.compress(tar(TWO)), "other bytes follow"),
    "bytes behind the end": (lambda: tar(ONE) + b"more", "other bytes follow its end mark"),
    "megabytes of zeros behind the end": (lambda: gzip.compress(tar(ONE) + bytes(3 * 2**20)), "other bytes follow"),
    "packed and cut": (lambda: gzip.compress(tar(TWO))[:-30], "damaged"),
    "packed, with bytes behind the end": (lambda: gzip.compress(tar(TWO)) + b"more", "damaged"),
    "packed, with another CRC": (
        lambda: gzip.compress(tar(TWO))[:-8] + b"1234" + gzip.compress(tar(TWO))[-4:],
        "damaged",
    ),
    "packed with bzip2": (lambda: bz2.compress(tar(TWO)), "damaged"),
    "an error page": (lambda: b"<html>sign in" * 50, "damaged"),
    "empty": (lambda: b"", "damaged"),
    "an absolute name": (lambda: tar({"/etc/a": b"x"}), "has an absolute name"),
    "a name that leaves the folder": (lambda: tar({"a/../../b": b"x"}), "points outside the folder"),
    "a hard link": (lambda: tar({"a": b""}, type=tarfile.LNKTYPE, linkname="/etc/passwd"), "is a link"),
    "a symbolic link": (lambda: tar({"a": b""}, type=tarfile.SYMTYPE, linkname="b"), "is a link"),
    "a device": (lambda: tar({"a": b""}, type=tarfile.BLKTYPE), "is not a regular file"),
    "a pipe": (lambda: tar({"a": b""}, type=tarfile.FIFOTYPE), "is not a regular file"),
    "a part of a file of several volumes": (lambda: change_header(tar(ONE), 156, b"M"), "is not a regular file"),
    "a sparse file of the GNU kind": (lambda: change_header(tar(ONE), 156, b"S"), "is a sparse file"),
    "a sparse file of the pax kind": (
        lambda: tar(
            {"a": b"1\n0\n1\n".ljust(512, b"\0") + b"x"},
            pax_headers={
                "GNU.sparse.major": "1",
                "GNU.sparse.minor": "0",
                "GNU.sparse.realsize": "9000000000",
                "GNU.sparse.name": "a",
            },
        ),
        "is a sparse file",
    ),
    "a negative size": (lambda: tar({"a": b"x"}, pax_headers={"size": "-1024"}), "damaged"),
    "a size beyond the end": (lambda: change_header(tar(ONE), 124, b"00000777777\0"), "damaged"),
    "a long name of 4 GB": (
        lambda: change_header(change_header(tar(ONE), 156, b"L"), 124, b"37777777777\0"),
        "says 4294967295 bytes",
    ),
    "one name twice": (lambda: tar(ONE)[: 512 + len(CONTENT)] + tar(ONE), "appears twice"),
    "two spellings of one name": (lambda: tar({"A.png": b"1", "a.png": b"2"}), "in letter case only"),
}


@pytest.mark.parametrize(("make", "demanded"), TARS.values(), ids=TARS)
def test_a_tar_is_read_right_or_refused(tmp_path, make, demanded):
    (tmp_path / "a.tar").write_bytes(make())
    assert_answer(answer(lambda: unpack(tmp_path / "a.tar", tmp_path / "out"), tmp_path / "out"), demanded)


# --- archives inside archives ---


@functools.cache
def small_bomb(kind: str) -> bytes:
    """49 MB of zeros, which one archive may hold."""
    zeros = {"zeros": bytes(49_000_000)}
    return pack(zeros) if kind == "zip" else gzip.compress(tar(zeros), 9, mtime=0)


NESTED: dict[str, tuple[Callable[[], Files], Answer]] = {
    "one that is harmless": (lambda: {"a.zip": pack({"in.zip": pack(ONE)})}, {"a/in.zip": pack(ONE)}),
    "two zips that are too much together": (
        lambda: {f"in{number}.zip": small_bomb("zip") for number in range(2)},
        "for all archives together",
    ),
    "a zip and a packed tar": (
        lambda: {"a.zip": small_bomb("zip"), "b.tgz": small_bomb("tgz")},
        "all archives together",
    ),
    "a truncated tar": (lambda: {"a.tar": tar(TWO)[:SECOND]}, "its end mark is missing"),
}


@pytest.mark.parametrize(("make", "demanded"), NESTED.values(), ids=NESTED)
def test_the_limits_are_common_to_the_archives_of_a_dataset(tmp_path, make, demanded):
    raw = tmp_path / "raw" / "covid_ct"
    write_tree(tmp_path / "mirror" / "COVID-CT", make())
    fetched = answer(lambda: fetch_dataset("covid_ct", make_card(), raw, tmp_path / "mirror"), raw)
    assert_answer(fetched, demanded)


def test_eight_kilobytes_do_not_become_100_megabytes_through_an_archive_in_an_archive(tmp_path):
    (tmp_path / "a.zip").write_bytes(pack({f"in{number}.zip": small_bomb("zip") for number in range(3)}))
    assert (tmp_path / "a.zip").stat().st_size < 10_000
    unpack(tmp_path / "a.zip", tmp_path / "out")
    with pytest.raises(CovbenchError, match="for all archives together"):
        unpack_inner_archives(tmp_path / "out")


# --- servers ---


@dataclass
class Asked:
    """What a server serves, and what is known of the file beforehand: `begun` bytes of it are here already."""

    served: Served
    size: int | None = None
    begun: int = 0


HALF = len(CONTENT) // 2
WHOLE = {"a.bin": CONTENT}
SERVERS: dict[str, tuple[Callable[[str], Asked], Answer]] = {
    "announces less than it is": (
        lambda url: Asked(Served(CONTENT, claimed=99), len(CONTENT)),
        "holds 99 bytes instead",
    ),
    "announces more than it sends": (lambda url: Asked(Served(CONTENT, claimed=99_999)), "not with the whole file"),
    "announces nothing and ends at the known size": (
        lambda url: Asked(Served(CONTENT, claimed=""), len(CONTENT)),
        WHOLE,
    ),
    "announces nothing and does not end": (
        lambda url: Asked(Served(CONTENT, claimed=""), 99),
        "sends more than 99 bytes",
    ),
    "announces nothing and ends too early": (lambda url: Asked(Served(CONTENT, claimed=""), 99_999), "keeps breaking"),
    "announces nothing, and no size is known": (
        lambda url: Asked(Served(bytes(200_000), claimed="")),
        "sends more than 100000",
    ),
    "announces a size that is no number": (
        lambda url: Asked(Served(CONTENT, claimed="many")),
        "impossible size, 'many'",
    ),
    "announces a negative size": (lambda url: Asked(Served(CONTENT, claimed="-5")), "impossible size, '-5'"),
    "packs what it sends": (
        lambda url: Asked(Served(gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"})),
        "packs what it sends (gzip)",
    ),
    "answers that there is no content": (lambda url: Asked(Served(b"", statuses=[204] * 9)), "HTTP 204"),
    "still makes the file, then has it": (lambda url: Asked(Served(CONTENT, statuses=[202])), WHOLE),
    "sends the true rest": (lambda url: Asked(Served(CONTENT), begun=HALF), WHOLE),
    "sends another part than it was asked for": (
        lambda url: Asked(Served(CONTENT, content_range=f"bytes 0-{HALF - 1}/{len(CONTENT)}"), begun=HALF),
        WHOLE,
    ),
    "says another whole size with the rest": (
        lambda url: Asked(Served(CONTENT, content_range=f"bytes {HALF}-{len(CONTENT) - 1}/99999"), begun=HALF),
        WHOLE,
    ),
    "says another end with the rest": (
        lambda url: Asked(Served(CONTENT, content_range=f"bytes {HALF}-99998/99999"), begun=HALF),
        WHOLE,
    ),
    "redirects in a circle": (lambda url: Asked(Served(redirect=f"{url}/a.bin")), "cannot be followed"),
    "redirects to a file of this machine": (
        lambda url: Asked(Served(redirect="file:///etc/passwd")),
        "cannot be followed",
    ),
}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(downloads, "WAITS", (0.0,))
    with LocalServer() as running:
        monkeypatch.setattr(origins, "GITHUB", running.url)
        monkeypatch.setattr(origins, "ZENODO", running.url)
        yield running


@pytest.mark.parametrize(("make", "demanded"), SERVERS.values(), ids=SERVERS)
def test_a_body_ends_at_its_known_size(tmp_path, monkeypatch, server, make, demanded):
    monkeypatch.setattr(downloads, "MAX_BYTES", 100_000)
    asked, target = make(server.url), tmp_path / "a.bin"
    server.files["/a.bin"] = asked.served
    if asked.begun:
        (tmp_path / "a.bin.part").write_bytes(CONTENT[: asked.begun])
        notes = {"url": f"{server.url}/a.bin", "size": len(CONTENT), "validator": asked.served.etag}
        (tmp_path / "a.bin.part.json").write_text(json.dumps(notes))
    given = answer(lambda: download(f"{server.url}/a.bin", target, size=asked.size), target)
    assert_answer({"a.bin": target.read_bytes()} if given == {} else given, demanded)


DOCUMENTS: dict[str, tuple[bytes, str]] = {
    "a login page": (b"<html>sign in", "is not JSON"),
    "not UTF-8": (b'{"files": "\xff"}', "is not JSON"),
    "without an end": (b"[" * 200_000, "longer than 100000 bytes"),
}


@pytest.mark.parametrize(("content", "words"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_record_that_cannot_be_read_is_refused(monkeypatch, server, content, words):
    monkeypatch.setattr(downloads, "MAX_JSON", 100_000)
    server.files["/record"] = Served(content)
    with pytest.raises(CovbenchError, match=words):
        get_json(f"{server.url}/record")


# --- GitHub ---

TRUE = {"images/a.png": b"true", "README.md": b"read", "run.sh": b"#!"}
TOP = "r-1/"


def repack(files: Files, programs: tuple[str, ...] = ("run.sh",)) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        for name, content in files.items():
            entry = zipfile.ZipInfo(TOP + name)
            entry.external_attr = (stat.S_IFREG | (0o755 if name in programs else 0o644)) << 16
            zipped.writestr(entry, content)
    return packed.getvalue()


REPOSITORIES: dict[str, tuple[Callable[[], bytes], Answer]] = {
    "the commit's own files": (lambda: repack(TRUE), TRUE),
    "another byte": (lambda: repack(TRUE | {"images/a.png": b"fals"}), "holds other files than commit"),
    "a file more": (lambda: repack(TRUE | {"images/b.png": b""}), "holds other files than commit"),
    "a file less": (lambda: repack({"README.md": b"read", "run.sh": b"#!"}), "holds other files than commit"),
    "another name": (
        lambda: repack({"images/b.png": b"true", "README.md": b"read", "run.sh": b"#!"}),
        "holds other files",
    ),
    "another mode": (lambda: repack(TRUE, ()), "holds other files than commit"),
    "no folder around the files": (lambda: zip_bytes(TRUE), "holds other files than commit"),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> tuple[Path, str]:
    """A folder with the repository of TRUE, and the commit."""
    home = tmp_path_factory.mktemp("home")
    with LocalServer() as server:
        return home, publish(server, home, TRUE, ["run.sh"])


@pytest.mark.parametrize(("make", "demanded"), REPOSITORIES.values(), ids=REPOSITORIES)
def test_the_archive_of_a_commit_holds_its_files_and_no_others(tmp_path, server, repository, make, demanded):
    server.repositories, commit = repository
    raw = tmp_path / "raw" / "covid_ct"
    server.files[f"/o/r/archive/{commit}.zip"] = Served(make())
    card = make_card(GitHub("o/r", commit))
    assert_answer(answer(lambda: fetch_dataset("covid_ct", card, raw, None), raw), demanded)


# --- mirrors ---

MIRROR = {f"{number}.png": b"%d" % number for number in range(5)}


def replace(path: Path, content: bytes) -> None:
    """Another file under the name, with the old one's dates."""
    before = path.stat()
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").replace(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, tuple[Callable[[Path], Any], Answer]] = {
    "nothing happens": (lambda folder: None, MIRROR),
    "a file vanishes that is yet to come": (lambda folder: (folder / "4.png").unlink(), "4.png (gone)"),
    "a file vanishes that was copied": (lambda folder: (folder / "0.png").unlink(), "0.png (gone)"),
    "a file appears": (lambda folder: (folder / "5.png").write_bytes(b"5"), "5.png (new)"),
    "a copied file is written to": (lambda folder: (folder / "0.png").write_bytes(b"9"), "0.png (changed)"),
    "a file grows that is yet to come": (lambda folder: (folder / "4.png").write_bytes(b"44"), "4.png (changed)"),
    "a copied file is replaced with its date kept": (lambda folder: replace(folder / "0.png", b"9"), "0.png (changed)"),
    "a file is renamed": (lambda folder: (folder / "4.png").rename(folder / "9.png"), "4.png (gone)"),
    "the folder vanishes": (lambda folder: folder.rename(folder.with_name("away")), "(gone)"),
}


@pytest.mark.parametrize(("change", "demanded"), CHANGES.values(), ids=CHANGES)
def test_a_mirror_that_changes_while_it_is_copied_is_refused(tmp_path, monkeypatch, change, demanded):
    folder, raw = write_tree(tmp_path / "mirror" / "COVID-CT", MIRROR), tmp_path / "raw" / "covid_ct"
    copied, copyfile = [], mirrors.shutil.copyfile

    def copy_and_change(source: Path, target: Path) -> None:
        """Copy, and after the first file let happen what happens."""
        copyfile(source, target)
        copied.append(source)
        if len(copied) == 1:
            change(folder)

    monkeypatch.setattr(mirrors.shutil, "copyfile", copy_and_change)
    fetched = answer(lambda: fetch_dataset("covid_ct", make_card(), raw, tmp_path / "mirror"), raw)
    assert_answer(fetched, demanded)


def link(path: Path, target: str) -> None:
    path.symlink_to(target)


MIRRORS: dict[str, tuple[Callable[[Path], Any], Answer]] = {
    "a link to the folder that holds it": (
        lambda folder: link(folder / "again", "."),
        "leads to a folder that holds it",
    ),
    "a broken link": (lambda folder: link(folder / "gone.png", "nowhere"), "a broken link?"),
    "a pipe": (lambda folder: os.mkfifo(folder / "pipe.png"), "is neither a file nor a folder"),
    "a name that is not UTF-8": (
        lambda folder: open(os.fsencode(folder) + b"/\xff.png", "w").close(),
        "is not UTF-8",
    ),
    "a git-LFS pointer": (
        lambda folder: (folder / "5.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
        "git-LFS pointers",
    ),
}


@pytest.mark.parametrize(("spoil", "demanded"), MIRRORS.values(), ids=MIRRORS)
def test_what_is_no_data_in_a_mirror_is_named(tmp_path, spoil, demanded):
    folder, raw = write_tree(tmp_path / "mirror" / "COVID-CT", MIRROR), tmp_path / "raw" / "covid_ct"
    spoil(folder)
    fetched = answer(lambda: fetch_dataset("covid_ct", make_card(), raw, tmp_path / "mirror"), raw)
    assert_answer(fetched, demanded)


# --- recorded manifests ---


def draw(folder: Path) -> None:
    write_tree(folder, MIRROR)


def edit(manifest: dict[str, Any], **changes: Any) -> str:
    """A recorded manifest with changed entries; None removes a file."""
    files = {name: entry for name, entry in (manifest["files"] | changes).items() if entry}
    return json.dumps({"source": manifest["source"], "files": files})


OTHER = {"sha256": "0" * 64, "size": 1}
RECORDED: dict[str, tuple[Callable[[dict[str, Any]], str], Answer]] = {
    "as fetched": (lambda manifest: edit(manifest), MIRROR),
    "another sha256": (lambda manifest: edit(manifest, **{"0.png": OTHER}), "0.png (changed)"),
    "a file more": (lambda manifest: edit(manifest, **{"x.png": OTHER}), "x.png (missing)"),
    "a file less": (lambda manifest: edit(manifest, **{"0.png": None}), "0.png (new)"),
    "of another source": (
        lambda manifest: json.dumps(manifest | {"source": "other"}),
        "is of other, but the card names",
    ),
    "cut off": (lambda manifest: json.dumps(manifest)[:50], "damaged"),
    "no manifest": (lambda manifest: "[]", "damaged"),
}


@pytest.mark.parametrize(("record", "demanded"), RECORDED.values(), ids=RECORDED)
def test_a_source_has_to_bring_what_is_recorded(tmp_path, record, demanded):
    card, raw = make_card(Synthetic(draw)), tmp_path / "raw" / "drawn"
    manifest = fetch_dataset("drawn", card, tmp_path / "first" / "drawn", None)
    (tmp_path / "recorded").mkdir()
    (tmp_path / "recorded" / "drawn.json").write_text(record(manifest))
    assert_answer(answer(lambda: fetch_dataset("drawn", card, raw, None, tmp_path / "recorded"), raw), demanded)


# --- weights and records ---


def test_a_weight_file_that_nothing_verifies_is_refused_when_it_is_cut_off(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["kernel"] = list(range(1000))
    (tmp_path / "w.h5").write_bytes((tmp_path / "w.h5").read_bytes()[:-100])
    columns = list(Weights.__dataclass_fields__)
    (tmp_path / "t.csv").write_text(",".join(columns) + "\nkeras/w,w.h5,w.h5,http://x/w.h5,,,,\n")
    with pytest.raises(CovbenchError, match="not a whole HDF5 file"):
        fetch_weights("w.h5", tmp_path / "out", tmp_path, tmp_path / "t.csv")
    assert not (tmp_path / "out" / "w.h5").exists()


def test_a_zenodo_record_that_lies_about_a_size_is_refused(tmp_path, server):
    entry = {"key": "a.nii", "size": 3, "checksum": "md5:" + "0" * 32, "links": {"self": f"{server.url}/a.nii"}}
    server.files["/api/records/1"] = Served(json.dumps({"files": [entry]}).encode())
    server.files["/a.nii"] = Served(b"four")
    raw = tmp_path / "raw" / "x"
    with pytest.raises(CovbenchError, match="holds 4 bytes instead of 3"):
        fetch_dataset("x", make_card(Zenodo("1", {})), raw, None)
    assert not raw.exists()
