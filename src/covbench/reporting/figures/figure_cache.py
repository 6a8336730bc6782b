"""Figures drawn once: one whose data and drawing are those of an earlier report is taken from there."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib
import matplotlib
from matplotlib.figure import Figure

from covbench.reporting.figures import lines_and_bars, model_figures
from covbench.system.files import write_whole

logging.getLogger("fontTools").setLevel(logging.WARNING)  # it tells of every font table that it leaves out of a PDF
FORMATS = ("svg", "png", "pdf")
FORGOTTEN = 30 * 24 * 3600  # seconds after which a figure that no report has asked for is removed
Drawing = partial[Figure]
"""A function of lines_and_bars.py or model_figures.py and what it is to draw."""


@dataclass(frozen=True)
class FigureCache:
    """folder: of the report. kept: where figures stay from one report to the next."""

    folder: Path
    kept: Path

    def draw(self, drawing: Drawing, formats: Sequence[str] = FORMATS) -> dict[str, Path]:
        """Format -> file below `kept`, drawn now unless it is there from before. formats: some of FORMATS."""
        key = joblib.hash((_hash_code(), drawing.func.__qualname__, drawing.args, drawing.keywords))
        paths = {word: self.kept / f"{key}.{word}" for word in formats}
        missing = {word: path for word, path in paths.items() if not path.exists()}
        if missing:
            figure = drawing()
            for word, path in missing.items():
                with write_whole(path) as temporary:
                    _WRITERS[word](figure, temporary)
        for path in paths.values():
            os.utime(path)
        return paths

    def clear(self) -> None:
        """Remove figures that no report has asked for in a month."""
        for path in self.kept.glob("*.*"):
            if path.stat().st_mtime < time.time() - FORGOTTEN:
                path.unlink(missing_ok=True)


def _write_svg(figure: Figure, path: Path) -> None:
    path.write_text(lines_and_bars.to_svg(figure), encoding="utf-8")


_WRITERS: dict[str, Callable[[Figure, Path], None]] = {
    "svg": _write_svg,
    "png": lines_and_bars.save_printed,
    "pdf": lines_and_bars.save_printed,
}


@functools.cache
def _hash_code() -> str:
    """Changes with the functions that draw and the library that they draw with."""
    texts = [Path(str(module.__file__)).read_bytes() for module in (lines_and_bars, model_figures)]
    return hashlib.sha256(b"".join([*texts, matplotlib.__version__.encode()])).hexdigest()
