"""A figure and a gallery of the report, and how a figure is written with its downloads."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from covbench.reporting.figures import lines_and_bars
from covbench.reporting.figures.figure_cache import FORMATS, Drawing, FigureCache
from covbench.reporting.wording import slug
from covbench.system.files import write_table

ALL_TASKS = "all tasks"
PRINTED = "printed"  # folder of the figures for print, moved out of the finished report


@dataclass(frozen=True)
class ReportFigure:
    """A figure on a page.

    source: path relative to the report's folder. width, height: pixels on the page. files: formats and paths of the
    downloads.
    """

    name: str
    source: str
    width: int
    height: int
    title: str
    caption: str
    reading: str
    files: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Tile:
    """A small picture with its text. source: path relative to the report's folder."""

    source: str
    text: str


@dataclass(frozen=True)
class Gallery:
    """Rows of tiles. rows: heading, description and tiles. legend: name and CSS class of each swatch."""

    name: str
    title: str
    caption: str
    rows: Sequence[tuple[str, str, Sequence[Tile]]]
    legend: Sequence[tuple[str, str]] = field(default_factory=tuple)


def write_figure(
    cache: FigureCache, name: str, drawing: Drawing, title: str, caption: str, reading: str, numbers: pd.DataFrame,
    topic: str = "",
) -> ReportFigure:  # fmt: skip
    """Write figures/{name}.svg and .csv below the report's folder.

    Args:
        cache: Where figures are drawn and kept.
        name: Identifier of the figure.
        drawing: The drawing function with its arguments.
        title: Title on the page.
        caption: What the figure shows and how to read it.
        reading: A sentence computed from the numbers.
        numbers: The values that the figure shows, as a tidy table.
        topic: Subfolder of the figures for print, where the figure is written as SVG and PDF. If empty, the figure is
            neither printed nor offered as PNG.

    Returns:
        The figure as the page shows it.
    """
    drawn = cache.draw(drawing, FORMATS if topic else ("svg",))
    svg = drawn["svg"].read_text(encoding="utf-8")
    path = cache.folder / "figures" / f"{slug(name)}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(lines_and_bars.follow_theme(svg), encoding="utf-8")
    write_table(path.with_suffix(".csv"), numbers)
    if topic:
        printed = cache.folder / PRINTED / slug(topic) / path.stem
        printed.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(drawn["png"], path.with_suffix(".png"))
        for word in ("svg", "pdf"):
            shutil.copyfile(drawn[word], printed.with_suffix(f".{word}"))
    width, height = (round(float(size) * 4 / 3) for size in re.findall(r'(?:width|height)="([\d.]+)pt"', svg)[:2])
    formats = ("svg", "png", "csv") if topic else ("svg", "csv")
    files = [(word.upper(), f"figures/{path.stem}.{word}") for word in formats]
    return ReportFigure(name, f"figures/{path.name}", width, height, title, caption, reading, files)
