"""Keeps figures, so that a figure with unchanged data and code is not drawn again."""

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

logging.getLogger("fontTools").setLevel(logging.WARNING)  # it logs every font table that it leaves out of a PDF
FORMATS = ("svg", "png", "pdf")
FORGOTTEN = 30 * 24 * 3600  # seconds after which an unused figure is removed
Drawing = partial[Figure]
"""A function of lines_and_bars.py or model_figures.py with its arguments."""


@dataclass(frozen=True)
class FigureCache:
    """folder: of the report. kept: folder in which figures stay from one report to the next."""

    folder: Path
    kept: Path

    def draw(self, drawing: Drawing, formats: Sequence[str] = FORMATS) -> dict[str, Path]:
        """Format -> file below `kept`; files that are missing there are drawn now. formats: some of FORMATS."""
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
        """Remove figures that no report has used for a month."""
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
    """A hash that changes with the drawing functions and the version of Matplotlib."""
    texts = [Path(str(module.__file__)).read_bytes() for module in (lines_and_bars, model_figures)]
    return hashlib.sha256(b"".join([*texts, matplotlib.__version__.encode()])).hexdigest()
