"""Figures that compare models: calibration, decision curves, volumes, cost against score, and external validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from covbench.reporting.figures.lines_and_bars import BLUE, GRID, INK, LINE_COLOURS, ORANGE, WIDTH, style_lines, styled
from covbench.reporting.wording import plain, show

BINS = 10


def bin_confidence(confidence: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """Mean confidence, share correct and number of images in ten bins of equal width, without empty bins.

    confidence: float, (N,), probability of the predicted class, 0-1. correct: bool, (N,). After Guo et al.,
    "On calibration of modern neural networks", ICML 2017.
    """
    position = np.minimum((confidence * BINS).astype(int), BINS - 1)
    table = pd.DataFrame({"bin": position, "confidence": confidence, "correct": correct.astype(float)})
    binned = table.groupby("bin").agg(
        confidence=("confidence", "mean"), correct=("correct", "mean"), images=("bin", "size")
    )
    return binned.reset_index(drop=True)


def find_error(binned: pd.DataFrame) -> float:
    """Expected calibration error: the mean gap between confidence and share correct, weighted by images. 0 is best."""
    gaps = (binned["confidence"] - binned["correct"]).abs()
    return float((gaps * binned["images"]).sum() / binned["images"].sum())


@styled
def draw_calibration(models: Mapping[str, pd.DataFrame]) -> Figure:
    """Share correct against confidence, a line per model. models: name -> table of bin_confidence."""
    figure = Figure(figsize=(WIDTH, 5.2))
    axes = figure.subplots()
    for (name, binned), (dash, colour) in zip(models.items(), style_lines(len(models)), strict=True):
        label = f"{plain(name)} ({show(find_error(binned))})"
        axes.plot(binned["confidence"], binned["correct"], ls=dash, color=colour, marker="o", ms=3.5, label=label)
    axes.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set(xlabel="probability of the predicted class", ylabel="share correct")
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8, handlelength=3)
    return figure


@styled
def draw_decision_curves(models: Mapping[str, pd.DataFrame]) -> Figure:
    """Net benefit over threshold probabilities, a line per model, a band around the first, and treating all or nobody.

    models: name -> table of measure_net_benefit, at least one.
    """
    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots()
    for (name, curve), (dash, colour) in zip(models.items(), style_lines(len(models)), strict=True):
        axes.plot(curve["threshold"], curve["net_benefit"], ls=dash, color=colour, label=plain(name))
    first = next(iter(models.values()))
    axes.fill_between(first["threshold"], first["low"], first["high"], color=LINE_COLOURS[0], alpha=0.2, lw=0)
    axes.plot(first["threshold"], first["treat_all"], color=INK, lw=1.0, label="treat all")
    axes.axhline(0, color=INK, lw=1.0, ls=":", label="treat nobody")
    highest = max(np.nanmax(curve[["net_benefit", "high"]].to_numpy()) for curve in models.values())
    axes.set(xlim=(0, 1), ylim=(-0.1 * highest - 0.02, 1.02 * highest + 0.02))
    axes.set(xlabel="threshold probability", ylabel="net benefit")
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8, handlelength=3)
    return figure


@styled
def draw_agreement(models: Mapping[str, pd.DataFrame], limits: pd.DataFrame) -> Figure:
    """Difference of two volumes against their mean (Bland and Altman 1986, Lancet 327:307), a panel per model.

    Args:
        models: Name -> a row per volume, columns mean and difference, ml.
        limits: Columns model, metric, mean, low, high: the bias and both limits of agreement, with their intervals.

    Returns:
        The figure. All panels share their axes.
    """
    across = min(3, len(models))
    down = math.ceil(len(models) / across)
    figure = Figure(figsize=(WIDTH, 2.8 * down + 0.4))
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(hspace=0.25, wspace=0.08)
    for number, (axes, (name, volumes)) in enumerate(zip(panels.flat, models.items(), strict=False)):
        axes.scatter(volumes["mean"], volumes["difference"], s=14, color=BLUE, alpha=0.6, lw=0)
        for row in limits[limits["model"] == name].to_dict("records"):
            axes.axhline(row["mean"], color=ORANGE, lw=1.4, ls="-" if "bias" in row["metric"] else (0, (5, 2)))
            if not (math.isnan(row["low"]) or math.isnan(row["high"])):
                axes.axhspan(row["low"], row["high"], color=ORANGE, alpha=0.15, lw=0)
        axes.axhline(0, color=INK, lw=0.8, ls=":")
        axes.set_title(plain(name), loc="left")
        axes.tick_params(labelbottom=number + across >= len(models))
    for axes in panels.flat[len(models) :]:
        axes.set_visible(False)
    figure.supxlabel("mean of annotated and predicted volume, ml", fontsize=9)
    figure.supylabel("predicted − annotated, ml", fontsize=9, x=0.05)
    return figure


def find_front(cost: Sequence[float], score: Sequence[float]) -> list[int]:
    """Positions of the models that no other beats in score at the same or lower cost, cheapest first."""
    front: list[int] = []
    for position in np.lexsort((-np.asarray(score), np.asarray(cost))):
        if not front or score[position] > score[front[-1]]:
            front.append(int(position))
    return front


@styled
def draw_cost_front(models: pd.DataFrame, metric: str) -> Figure:
    """Score against training time in seconds, with intervals; a line joins the Pareto front.

    models: columns model, seconds, mean, low, high.
    """
    figure = Figure(figsize=(WIDTH, 4.6))
    axes = figure.subplots()
    errors = np.abs(np.stack([models["mean"] - models["low"], models["high"] - models["mean"]]))
    axes.errorbar(models["seconds"], models["mean"], yerr=errors, fmt="o", color=BLUE, ecolor=GRID, ms=5, elinewidth=1)
    front = models.iloc[find_front(models["seconds"].tolist(), models["mean"].tolist())]
    axes.plot(front["seconds"], front["mean"], color=ORANGE, drawstyle="steps-post", lw=1.4, label="Pareto front")
    for row in models.to_dict("records"):
        axes.annotate(
            plain(row["model"]), (row["seconds"], row["mean"]), (5, 4), textcoords="offset points", fontsize=8
        )
    axes.set_xscale("log")
    if models["seconds"].max() < 10 * models["seconds"].min():  # perhaps no power of ten to label
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.15)
    axes.set(xlabel="training time per seed, seconds", ylabel=metric)
    axes.legend(loc="lower right")
    return figure


@styled
def draw_matrix(cells: pd.DataFrame, metric: str) -> Figure:
    """A score's mean over models, trained on (rows) against tested on (columns); the diagonal is the internal score.

    cells: columns trained_on, tested_on, value, models.
    """
    rows, columns = list(dict.fromkeys(cells["trained_on"])), sorted(set(cells["tested_on"]) | set(cells["trained_on"]))
    figure = Figure(figsize=(WIDTH, 1.2 + 0.55 * len(rows)))
    axes = figure.subplots()
    values = np.full((len(rows), len(columns)), np.nan)
    for cell in cells.to_dict("records"):
        values[rows.index(cell["trained_on"]), columns.index(cell["tested_on"])] = cell["value"]
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "#ffffff" if value > 0.55 else "#101014" if np.isfinite(value) else INK
        axes.text(column, row, show(value), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(columns)), [plain(name) for name in columns], rotation=25, ha="right")
    axes.set_yticks(range(len(rows)), [plain(name) for name in rows])
    axes.set(xlabel=f"tested on ({metric})", ylabel="trained on")
    axes.grid(visible=False)
    return figure
