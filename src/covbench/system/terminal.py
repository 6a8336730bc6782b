"""Text on a terminal that cannot show every character: the nearest plain one takes its place."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PLAIN = {
    **dict.fromkeys("−–—‐‑•·", "-"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”„", '"'),
    "…": ".",
    "×": "x",
    "≥": ">",
    "≤": "<",
    "→": ">",
    "±": "~",
}
"""One character for one, so that columns stay aligned; any other becomes a question mark."""
HANDLER = "covbench.plain"


def _replace_unknown(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in unknown), error.end


codecs.register_error(HANDLER, _replace_unknown)


@contextmanager
def print_anywhere() -> Iterator[None]:
    """While entered, stdout and stderr take any text, whatever their encoding."""
    streams = [stream for stream in (sys.stdout, sys.stderr) if isinstance(stream, io.TextIOWrapper)]
    before = [stream.errors for stream in streams]
    for stream in streams:
        stream.reconfigure(errors=HANDLER)
    try:
        yield
    finally:
        for stream, errors in zip(streams, before, strict=True):
            stream.reconfigure(errors=errors)
