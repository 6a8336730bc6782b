"""Read text files by what they hold: Unicode is read, every other encoding is refused by name."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from covbench.schema import CovbenchError

LARGEST = 200_000_000
"""Bytes of the largest text file that is read."""
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order mark -> encoding."""
REMEDY = "save it as UTF-8"


def read_text(path: Path) -> str:
    """Read a text file: UTF-8 with or without a byte order mark, or UTF-16 and UTF-32 with one.

    Raises CovbenchError if the file is too large, in another encoding, damaged, or a web page. It names the line.
    """
    return _decode(path, find_encoding(path))


def read_utf8(path: Path) -> str:
    """Read a text file as read_text does, but in UTF-8 only: other programs read this file too."""
    encoding = find_encoding(path)
    if not encoding.startswith("utf-8"):
        raise CovbenchError(f"{path}: is {encoding.upper()}, not UTF-8; {REMEDY}")
    return _decode(path, encoding)


def find_encoding(path: Path) -> str:
    """Return the encoding that the first bytes of a file state: utf-8 where they state none."""
    with path.open("rb") as file:
        start = file.read(4)
    return next((encoding for mark, encoding in MARKS if start.startswith(mark)), "utf-8")


def _decode(path: Path, encoding: str) -> str:
    if path.stat().st_size > LARGEST:
        raise CovbenchError(f"{path}: has more than {LARGEST:,} bytes, too many for a table of text")
    data = path.read_bytes()
    if encoding.startswith("utf-8") and b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise CovbenchError(
            f"{path}: line {line} holds a NUL byte: it is no text file, or UTF-16 without a byte order mark; {REMEDY}"
        )
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CovbenchError(f"{path}: line {line}: {_explain(error, encoding)}; {REMEDY}") from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise CovbenchError(f"{path}: line {line} holds a NUL character: it is damaged; {REMEDY}")
    if re.match(r"\s*<(!doctype|html|head|body|\?xml|!--)", text, re.IGNORECASE):
        raise CovbenchError(f"{path}: is a web page (HTML or XML), not a text file; fetch the file itself")
    return text


def _explain(error: UnicodeDecodeError, encoding: str) -> str:
    if not encoding.startswith("utf-8"):
        return f"is no valid {encoding.upper()}, which its first bytes state: it is cut off or damaged"
    byte = error.object[error.start]
    return f"byte 0x{byte:02x} is not UTF-8; the file may be Latin-1 or Windows-1252"
