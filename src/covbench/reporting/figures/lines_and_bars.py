"""Figures of lines and bars: each function turns data into a Matplotlib Figure, without pyplot.

Colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/). A hatch, dash or label repeats what a colour says.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from covbench.evaluation.definitions import label_metric
from covbench.protocols import AUDITED, PUBLISHED, PUBLISHED_AUDITED_SPLIT
from covbench.reporting.wording import name_protocol, plain

ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PINK = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
)
LINE_COLOURS = (BLUE, RED, GREEN, ORANGE, SKY, PINK)
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
INK, GRID = "#1b1b1f", "#d4d4da"
DARK = {INK: "#e8e8ec", GRID: "#43434c", BLUE: "#4aa8e8"}
PROTOCOL_BARS = {PUBLISHED: (ORANGE, "///"), PUBLISHED_AUDITED_SPLIT: (SKY, "---"), AUDITED: (BLUE, "")}
WIDTH = 9.0
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "hatch.linewidth": 0.7,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": False,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "covbench",
    "pdf.fonttype": 42,
}
NO_BANDS = pd.DataFrame({"class": [], "curve": [], "x": [], "low": [], "high": []}, dtype=float)
styled = rc_context(STYLE)


@styled
def to_svg(figure: Figure) -> str:
    """The figure as SVG; text stays text."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.05, metadata={"Date": None})
    return buffer.getvalue()


def follow_theme(svg: str) -> str:
    """An SVG of to_svg whose dark ink turns light on a dark page."""
    rules = [
        f'[style*="{part}: {light}"] {{ {part}: {dark} !important; }}'
        for light, dark in DARK.items()
        for part in ("fill", "stroke")
    ]
    style = f"<style>@media (prefers-color-scheme: dark) {{ {' '.join(rules)} }}</style>"
    return svg.replace("<defs>", f"{style}\n <defs>", 1)


@styled
def save_printed(figure: Figure, path: Path) -> None:
    """Write the figure as PNG or PDF, by the suffix of `path`, on white."""
    facts: Any = {"CreationDate": None} if path.suffix == ".pdf" else None
    figure.savefig(path, dpi=200, facecolor="white", bbox_inches="tight", pad_inches=0.05, metadata=facts)


@styled
def draw_class_counts(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Images per class, a group of bars per task. counts: task -> class -> images."""
    bars = [(task, name, number) for task, classes in counts.items() for name, number in classes.items()]
    figure = Figure(figsize=(WIDTH, 0.8 + 0.3 * len(bars)))
    axes = figure.subplots()
    colours = dict(zip(counts, cycle(LINE_COLOURS), strict=False))
    y = np.arange(len(bars))
    axes.barh(y, [bar[2] for bar in bars], color=[colours[bar[0]] for bar in bars], height=0.75)
    axes.set_yticks(y, [plain(f"{task} · {name}") for task, name, _ in bars])
    for position, (_, _, number) in zip(y, bars, strict=True):
        axes.annotate(f"{number:,}", (number, position), (4, 0), textcoords="offset points", va="center")
    axes.invert_yaxis()
    axes.margins(x=0.08)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("usable images, or slices that contain the class")
    return figure


@styled
def draw_metric_bars(
    values: pd.DataFrame, architectures: Sequence[str], metrics: Sequence[str], study: Mapping[tuple[str, str], float]
) -> Figure:
    """Clustered bars: a panel per metric, a cluster per architecture, a bar per protocol with its 95 % interval.

    Args:
        values: Columns architecture, protocol, metric, mean, low, high.
        architectures: The clusters, from left to right.
        metrics: The panels, from top to bottom.
        study: (architecture, metric) -> value that the study reports.

    Returns:
        The figure. An undefined mean is a dash instead of a bar.
    """
    figure = Figure(figsize=(WIDTH, 1.7 * len(metrics) + 1.1))
    panels = figure.subplots(len(metrics), 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(hspace=0.28)
    protocols = [name for name in PROTOCOL_BARS if name in set(values["protocol"])]
    protocols += sorted(set(values["protocol"]) - set(protocols))
    for axes, metric in zip(panels, metrics, strict=True):
        rows = values[values["metric"] == metric].set_index(["protocol", "architecture"])
        for number, protocol in enumerate(protocols):
            _draw_bars(axes, rows, architectures, protocol, number, len(protocols))
        marks = [(x, study[name, metric]) for x, name in enumerate(architectures) if (name, metric) in study]
        if marks:
            axes.plot(*zip(*marks, strict=True), "D", color=INK, ms=4.5, label="the study's number", clip_on=False)
        axes.set_title(label_metric(metric), loc="left")
        axes.set_ylim(0, 1.02)
        axes.grid(visible=False, axis="x")
    panels[-1].set_xticks(range(len(architectures)), [plain(name) for name in architectures], rotation=40, ha="right")
    panels[-1].set_xlim(-0.6, len(architectures) - 0.4)
    handles = {text: handle for axes in panels for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    panels[0].legend(handles.values(), handles, ncols=4, loc="lower right", bbox_to_anchor=(1, 1.16), borderaxespad=0)
    return figure


def _draw_bars(
    axes: Axes, rows: pd.DataFrame, architectures: Sequence[str], protocol: str, number: int, bars: int
) -> None:
    width = 0.8 / bars
    x = np.arange(len(architectures)) - 0.4 + width * (number + 0.5)
    chosen = rows.reindex([(protocol, name) for name in architectures])
    mean = chosen["mean"].to_numpy(float)
    errors = np.abs(np.stack([mean - chosen["low"].to_numpy(float), chosen["high"].to_numpy(float) - mean]))
    colour, hatch = PROTOCOL_BARS.get(protocol, (GREEN, ".."))
    look: dict[str, Any] = {"color": colour, "hatch": hatch, "edgecolor": "#ffffff", "linewidth": 0.5}
    axes.bar(
        x,
        np.nan_to_num(mean),
        width,
        yerr=errors,
        ecolor=INK,
        error_kw={"elinewidth": 1},
        label=plain(name_protocol(protocol)),
        **look,
    )
    for position in x[np.isnan(mean)]:
        axes.text(position, 0.03, "–", ha="center")


@styled
def draw_confusions(confusions: Sequence[tuple[str, np.ndarray]], classes: Sequence[str]) -> Figure:
    """Confusion matrices side by side: rows true, columns predicted; shade and text give the share of the row.

    confusions: title and counts, float64, (C, C). All matrices share one Axes, which is ten times as fast.
    """
    size = len(classes)
    across = min(len(confusions), 5 if size <= 2 else 4)
    down = math.ceil(len(confusions) / across)
    step_x, step_y = size + 0.5, size + 0.75
    figure = Figure(figsize=(WIDTH, (WIDTH - 1.4) / (across * step_x) * down * step_y + 0.5))
    axes = figure.subplots()
    cells, shades = [], []
    for number, (title, matrix) in enumerate(confusions):
        left, top = (number % across) * step_x, (number // across) * step_y
        axes.text(left, top - 0.1, plain(title), weight="bold", fontsize=7 if size <= 2 else 8)
        with np.errstate(invalid="ignore"):
            shares = matrix / matrix.sum(axis=1, keepdims=True)
        for row, column in np.ndindex(size, size):
            share, x, y = float(shares[row, column]), left + column, top + row
            cells.append(Rectangle((x, y), 0.97, 0.97))
            shades.append(0.0 if math.isnan(share) else share)
            _write_cell(axes, x + 0.485, y + 0.485, share, float(matrix[row, column]), 6 if size > 3 else 7)
    grid = PatchCollection(cells, cmap="Blues", clim=(0, 1), edgecolor="none")
    grid.set_array(np.array(shades))
    axes.add_collection(grid)
    _name_classes(axes, classes, across, down, step_x, step_y, len(confusions))
    return figure


def _write_cell(axes: Axes, x: float, y: float, share: float, number: float, font: float) -> None:
    text = "–" if math.isnan(share) else f"{share:.0%}"
    colour = "#ffffff" if share > 0.55 else "#101014"
    axes.text(x, y, f"{text}\n{_short(number)}", ha="center", va="center", color=colour, fontsize=font)


def _short(number: float) -> str:
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= limit:
            return f"{number / (1e3 if letter == 'k' else limit):.1f}{letter}"
    return f"{number:.0f}"


def _name_classes(
    axes: Axes, classes: Sequence[str], across: int, down: int, step_x: float, step_y: float, used: int
) -> None:
    names = [plain(name).replace("_", " ") for name in classes]
    for row in range(down):
        for number, name in enumerate(names):
            axes.text(-0.1, row * step_y + number + 0.485, name, ha="right", va="center", fontsize=7)
    for column in range(across):
        last = (used - 1 - column) // across
        for number, name in enumerate(names):
            x, y = column * step_x + number + 0.485, last * step_y + len(classes) + 0.08
            axes.text(x, y, name, ha="center", va="top", fontsize=7, rotation=90)
    axes.set_xlim(-0.1, across * step_x)
    axes.set_ylim(down * step_y + 0.2, -0.5)
    axes.set_aspect("equal")
    axes.axis("off")


@styled
def draw_learning_curves(histories: Mapping[str, Sequence[pd.DataFrame]]) -> Figure:
    """Loss above accuracy per model, a line per seed: training dashed, validation solid, fine-tuning after the dots.

    histories: model -> a table per seed with the columns of schema.HISTORY_COLUMNS.
    """
    across = min(4, len(histories))
    down = math.ceil(len(histories) / across)
    figure = Figure(figsize=(WIDTH, 2.7 * down + 0.3))
    grid = figure.add_gridspec(
        3 * down - 1, across, height_ratios=[1, 1, 0.45] * (down - 1) + [1, 1], wspace=0.1, hspace=0.12
    )
    highest = find_highest([run for runs in histories.values() for run in runs])
    for number, (name, runs) in enumerate(histories.items()):
        row, column = divmod(number, across)
        loss, accuracy = (figure.add_subplot(grid[3 * row + below, column]) for below in (0, 1))
        _draw_history(loss, runs, "loss")
        _draw_history(accuracy, runs, "accuracy")
        loss.set_title(plain(name), loc="left")
        loss.set_ylim(0, highest * 1.05)
        accuracy.set_ylim(0, 1.02)
        loss.tick_params(labelbottom=False)
        for axes, word in ((loss, "loss"), (accuracy, "accuracy")):
            axes.set_ylabel(word) if column == 0 else axes.tick_params(labelleft=False)
        if number + across >= len(histories):
            accuracy.set_xlabel("epoch")
        if number == 0:
            handles, labels = loss.get_legend_handles_labels()
            figure.legend(handles[:2], labels[:2], ncols=2, loc="lower right", bbox_to_anchor=(0.9, 0.9))
    return figure


def find_highest(runs: Sequence[pd.DataFrame]) -> float:
    """The 98 % quantile of all losses, as the upper end of an axis."""
    losses = np.concatenate([run[["loss", "val_loss"]].to_numpy(float).ravel() for run in runs])
    losses = losses[np.isfinite(losses)]
    return float(np.quantile(losses, 0.98)) if len(losses) else 1.0


def _draw_history(axes: Axes, runs: Sequence[pd.DataFrame], word: str) -> None:
    for run in runs:
        axes.plot(run["epoch"], run[word], color=ORANGE, ls=(0, (3, 1.5)), lw=1.2, label="training")
        axes.plot(run["epoch"], run[f"val_{word}"], color=BLUE, lw=1.4, label="validation")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        later = run.loc[run["phase"] == "fine_tune", "epoch"]
        if len(later) and later.iloc[0] > run["epoch"].iloc[0]:
            axes.axvline(later.iloc[0] - 0.5, color=INK, ls=":", lw=0.9)


def style_lines(number: int) -> Iterator[tuple[Any, str]]:
    """Yield dash and colour of each of some lines, so that no two of the first 24 look alike."""
    return islice(((dash, colour) for dash in cycle(DASHES) for colour in LINE_COLOURS), number)


@styled
def draw_roc_pr(
    curves: Sequence[tuple[str, Mapping[str, Any]]], classes: Sequence[str], bands: pd.DataFrame = NO_BANDS
) -> Figure:
    """ROC curves above precision-recall curves: a column per class, a line per model, a band around the first model.

    Args:
        curves: Models and their `curves` of metrics.json. Colour and dash together identify a model.
        classes: The classes to show.
        bands: Columns class, curve, x, low, high of the first model; by default there is no band.

    Returns:
        The figure.
    """
    figure = Figure(figsize=(WIDTH, 7.4 if len(classes) == 1 else 2 * (WIDTH - 1.9) / len(classes) + 1.2))
    panels = figure.subplots(2, len(classes), squeeze=False, gridspec_kw={"hspace": 0.3, "wspace": 0.12})
    styles = list(style_lines(len(curves)))
    for column, name in enumerate(classes):
        roc, precision_recall = panels[:, column]
        for (model, points), (dash, colour) in zip(curves, styles, strict=True):
            of_class = points.get(name, {})
            marker = "D" if len(of_class.get("roc", {}).get("fpr", ())) == 1 else None  # labels without probabilities
            look = {"ls": dash, "color": colour, "marker": marker}
            if of_class.get("roc"):
                roc.plot(of_class["roc"]["fpr"], of_class["roc"]["tpr"], label=plain(model), **look)
            if of_class.get("pr"):
                recall, precision = of_class["pr"]["recall"], of_class["pr"]["precision"]
                precision_recall.plot(recall, precision, drawstyle="steps-post", **look)
        for axes, curve in ((roc, "roc"), (precision_recall, "pr")):
            band = bands[(bands["class"] == name) & (bands["curve"] == curve)]
            axes.fill_between(band["x"], band["low"], band["high"], color=LINE_COLOURS[0], alpha=0.2, lw=0)
        roc.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
        roc.set(xlabel="false positive rate", title=plain(name).replace("_", " "))
        precision_recall.set(xlabel="recall")
        for axes, word in ((roc, "true positive rate"), (precision_recall, "precision")):
            axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
            axes.set_ylabel(word) if column == 0 else axes.tick_params(labelleft=False)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    panels[0, -1].legend(handles, labels, loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8, handlelength=3)
    return figure
