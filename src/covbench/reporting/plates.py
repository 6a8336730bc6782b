"""Draws a task's figures and pictures into the report's folder, each with its caption and computed reading."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from covbench.evaluation.definitions import label_metric
from covbench.files import write_table
from covbench.reporting import figures, wording
from covbench.reporting.figure_tables import (
    tabulate_confusions,
    tabulate_counts,
    tabulate_curves,
    tabulate_histories,
)
from covbench.reporting.gather import FinishedRun, Prepared, Results, read_prepared
from covbench.reporting.pictures import choose_spread, colour_masks, overlay_errors, save_picture
from covbench.reporting.tables import order_protocols, rank_models
from covbench.reporting.wording import plain, show, slug
from covbench.schema import SEGMENTATION, Task

log = logging.getLogger(__name__)
SAMPLES, CASES, THUMBNAIL, TILE = 6, 6, 144, 224
ALL_TASKS = "all tasks"
PRINTED = "printed"  # folder of the figures for print, moved out of the report when it is whole


@dataclass(frozen=True)
class Plate:
    """A figure on the page.

    source: relative to the report's folder; width, height: pixels on the page. files: what can be downloaded, format
    and place.
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
    """A small picture with its words."""

    source: str
    text: str


@dataclass(frozen=True)
class Gallery:
    """Rows of tiles. rows: heading of the row, what it says, its tiles; legend: word and CSS class of its swatch."""

    name: str
    title: str
    caption: str
    rows: Sequence[tuple[str, str, Sequence[Tile]]]
    legend: Sequence[tuple[str, str]] = field(default_factory=tuple)


def write_plate(
    folder: Path, name: str, figure: Figure, title: str, caption: str, reading: str, numbers: pd.DataFrame,
    topic: str = "",
) -> Plate:  # fmt: skip
    """Write figures/{name}.svg and .csv under the report's folder.

    numbers: what the figure shows, tidy. topic: where it stands among the figures for print, PRINTED/{topic}/{name} as
    SVG and PDF; empty: it is not printed, nor offered as PNG.
    """
    svg = figures.to_svg(figure)
    path = folder / "figures" / f"{slug(name)}.svg"
    write_text(path, figures.follow_theme(svg))
    write_table(path.with_suffix(".csv"), numbers)
    if topic:
        figures.save_printed(figure, path.with_suffix(".png"))
        printed = folder / PRINTED / slug(topic) / path.name
        write_text(printed, svg)
        figures.save_printed(figure, printed.with_suffix(".pdf"))
    width, height = (round(float(size) * 4 / 3) for size in re.findall(r'(?:width|height)="([\d.]+)pt"', svg)[:2])
    formats = ("svg", "png", "csv") if topic else ("svg", "csv")
    files = [(word.upper(), f"figures/{path.stem}.{word}") for word in formats]
    return Plate(name, f"figures/{path.name}", width, height, title, caption, reading, files)


def write_text(path: Path, text: str) -> None:
    """Text to a file below a folder that may not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def draw_counts(folder: Path, counts: Mapping[str, Mapping[str, int]], topic: str = ALL_TASKS) -> Plate | None:
    """Samples per class. counts: task -> class -> images; topic: the one task, or ALL_TASKS."""
    counts = {task: classes for task, classes in counts.items() if classes}
    if not counts:
        return None
    ratios = {task: max(c.values()) / max(min(c.values()), 1) for task, c in counts.items() if len(c) > 1}
    widest = max(ratios, key=lambda task: ratios[task], default="")
    reading = (
        f"Least balanced: {widest}, where the largest class holds {ratios[widest]:.1f} times the smallest."
        if ratios
        else ""
    )
    caption = "Images that can be used per task and class; for segmentation, slices whose mask holds the class."
    name = "samples_per_class" if topic == ALL_TASKS else f"samples_per_class-{topic}"
    figure, numbers = figures.draw_class_counts(counts), tabulate_counts(counts)
    return write_plate(folder, name, figure, "Samples per class", caption, reading, numbers, topic)


def draw_task(folder: Path, task: Task, results: Results) -> Iterator[Plate]:
    """Every figure of a task for which there are numbers: bars, confusion matrices, curves."""
    yield from _draw_bars(folder, task, results)
    for protocol in order_protocols(run.run.protocol for run in results.of(task.name)):
        runs = results.of(task.name, protocol)
        yield _draw_confusions(folder, task, protocol, runs)
        if any(not run.history.empty for run in runs):
            yield _draw_histories(folder, task, protocol, runs)
        if task.kind != SEGMENTATION:
            yield _draw_curves(folder, task, protocol, runs)


def choose_bars(task: Task, published: pd.DataFrame, known: Collection[str]) -> list[str]:
    """The metrics of the bar charts, of those known: what stands beside the study's numbers, and the usual ones.

    The usual ones of a classification are shown only where the study has none.
    """
    theirs = [metric for metric in dict.fromkeys(published["our_metric"]) if metric in known]
    usual = [metric for metric in wording.BAR_METRICS[task.kind] if metric in known]
    return list(dict.fromkeys(usual + theirs)) if task.kind == SEGMENTATION else theirs or usual


def _draw_bars(folder: Path, task: Task, results: Results) -> Iterator[Plate]:
    summary = results.summary[results.summary["task"] == task.name]
    published = results.published[results.published["task"] == task.name]
    metrics = choose_bars(task, published, set(summary["metric"]))
    if not metrics:
        return
    study = {
        (row["architecture"], row["our_metric"]): row["reported"]
        for _, row in published.iterrows()
        if row["our_metric"]
    }
    models = rank_models(summary, metrics[0])
    title = f"{wording.join_words([label_metric(name) for name in metrics])} per model"
    caption = "Mean over seeds; lines are 95 % intervals; models from best to worst; “–” where a value is undefined."
    shown = summary[summary["metric"].isin(metrics)]
    figure = figures.draw_metric_bars(shown, models, metrics, study)
    reading = wording.read_leaders(summary, metrics[0])
    yield write_plate(folder, f"bars-{task.name}", figure, title, caption, reading, shown, task.name)


def _group_models(runs: Sequence[FinishedRun]) -> dict[str, list[FinishedRun]]:
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(run.run.architecture, []).append(run)
    return groups


def _draw_confusions(folder: Path, task: Task, protocol: str, runs: Sequence[FinishedRun]) -> Plate:
    sums = [
        (model, np.sum([np.array(run.metrics["confusion"], float) for run in group], axis=0))
        for model, group in _group_models(runs).items()
    ]
    unit = "pixels" if task.kind == SEGMENTATION else "images"
    caption = f"Rows: truth; columns: predicted. Share of the true class, and {unit} summed over seeds."
    reading = wording.read_confusions(np.sum([matrix for _, matrix in sums], axis=0), task.classes)
    figure = figures.draw_confusions(sums, task.classes)
    name, title = f"confusion-{task.name}-{protocol}", f"Confusion matrices, {protocol}"
    return write_plate(folder, name, figure, title, caption, reading, tabulate_confusions(sums, task), task.name)


def _draw_histories(folder: Path, task: Task, protocol: str, runs: Sequence[FinishedRun]) -> Plate:
    histories = {
        model: [run.history for run in group if not run.history.empty] for model, group in _group_models(runs).items()
    }
    histories = {model: tables for model, tables in histories.items() if tables}
    caption = "A line per seed: training dashed, validation solid; a dotted upright marks where fine-tuning starts."
    figure = figures.draw_learning_curves(histories)
    title, reading = f"Loss and accuracy while training, {protocol}", wording.read_curves(histories)
    numbers = tabulate_histories(runs)
    return write_plate(folder, f"learning-{task.name}-{protocol}", figure, title, caption, reading, numbers, task.name)


def _draw_curves(folder: Path, task: Task, protocol: str, runs: Sequence[FinishedRun]) -> Plate:
    shown = [task.positive] if task.positive else list(task.classes)
    scored = []
    for model, group in _group_models(runs).items():
        areas = [run.metrics["metrics"].get("auroc") for run in group]
        area = float(np.mean([value for value in areas if value is not None] or [np.nan]))
        scored.append((area, model, group[0].metrics.get("curves", {})))
    scored.sort(key=lambda entry: -entry[0] if entry[0] == entry[0] else 1.0)
    curves = [(figures.label_curve(model, area), points) for area, model, points in scored]
    caption = "Test images of the lowest seed; in brackets the AUROC, mean over seeds. Dotted: guessing."
    defined = [(model, area) for area, model, _ in scored if area == area]
    reading = f"Largest area: {defined[0][0]} with {show(defined[0][1])}." if defined else ""
    figure = figures.draw_roc_pr(curves, shown)
    name, title = f"roc-{task.name}-{protocol}", f"ROC and precision-recall, {protocol}"
    numbers = tabulate_curves([(model, points) for _, model, points in scored], shown)
    return write_plate(folder, name, figure, title, caption, reading, numbers, task.name)


def draw_samples(folder: Path, task: Task, prepared: Prepared, members: dict[str, np.ndarray]) -> Gallery | None:
    """Sample images per class, evenly spread over the prepared rows; slices with their classes tinted."""
    rows: list[tuple[str, str, Sequence[Tile]]] = []
    for name, places in members.items():
        if not len(places):
            rows.append((name, "no image", ()))
            continue
        chosen = places[np.linspace(0, len(places) - 1, min(SAMPLES, len(places))).round().astype(int)]
        tiles = []
        for place in chosen:
            picture = np.asarray(prepared.images[place])
            if prepared.masks is not None:
                picture = colour_masks(picture, np.asarray(prepared.masks[place]))
            path = f"figures/samples/{slug(task.name, name, int(place))}.png"
            save_picture(folder / path, picture, THUMBNAIL)
            tiles.append(Tile(path, plain(prepared.rows["image_id"].iloc[int(place)])))
        rows.append((name, wording.count(len(places), "image"), tiles))
    if not rows:
        return None
    caption = "As the models see them: grey, one size" + (
        ", true classes tinted; from the smallest to the largest area." if prepared.masks is not None else "."
    )
    return Gallery(f"samples-{task.name}", "Sample images per class", caption, rows, class_legend(task, prepared))


def class_legend(task: Task, prepared: Prepared) -> list[tuple[str, str]]:
    """Word and swatch of each tinted class."""
    if prepared.masks is None:
        return []
    return [(name, f"class{(number - 1) % 6}") for number, name in enumerate(task.classes) if number]


ERROR_LEGEND = (("true positive", "tp"), ("false positive", "fp"), ("false negative", "fn"))


def draw_cases(folder: Path, data: Path, task: Task, protocol: str, results: Results) -> Iterator[Gallery]:
    """Ground truth against prediction of the best model, and every model on one case, as overlays."""
    runs = [run for run in results.of(task.name, protocol) if not run.cases.empty]
    summary = results.summary[(results.summary["task"] == task.name) & (results.summary["protocol"] == protocol)]
    ranked = rank_models(summary, "dice_lesion")
    first = {model: group[0] for model, group in _group_models(runs).items()}
    ranked = [name for name in ranked if name in first] + [name for name in first if name not in ranked]
    if not ranked:
        return
    best = first[ranked[0]]
    masks = best.read_masks()
    side = next(iter(masks.values())).shape[0] if masks else 0
    prepared = read_prepared(data, task.name, side)
    if prepared is None or prepared.masks is None:
        log.warning("no gallery of %s, %s: no masks of %d pixels in data/prepared", task.name, protocol, side)
        return
    cases = best.cases[(best.cases["copy"] == 0) & best.cases["image_id"].isin(prepared.position)].reset_index(
        drop=True
    )
    chosen = choose_spread(cases["dice_lesion"], CASES)
    if not chosen:
        return
    yield _draw_truth(folder, task, best, prepared, masks, cases.iloc[chosen])
    middle = cases.iloc[choose_spread(cases["dice_lesion"], 3)[-1 if len(cases) < 3 else 1]]
    yield _draw_models(folder, task, protocol, [first[name] for name in ranked], prepared, str(middle["image_id"]))


def _lesion(task: Task, mask: np.ndarray) -> np.ndarray:
    return np.isin(mask, [task.classes.index(name) for name in task.lesions])


def _draw_truth(
    folder: Path, task: Task, run: FinishedRun, prepared: Prepared, masks: dict[tuple[str, int], np.ndarray],
    cases: pd.DataFrame,
) -> Gallery:  # fmt: skip
    assert prepared.masks is not None
    rows = []
    for number, (_, case) in enumerate(cases.iterrows()):
        place, predicted = prepared.position[case["image_id"]], masks[case["image_id"], 0]
        image, truth = np.asarray(prepared.images[place]), np.asarray(prepared.masks[place])
        pictures = {
            "image": image,
            "ground truth": colour_masks(image, truth),
            "prediction": colour_masks(image, predicted),
            "errors": overlay_errors(image, _lesion(task, truth), _lesion(task, predicted)),
        }
        tiles = []
        for word, picture in pictures.items():
            path = f"figures/cases/{slug(task.name, run.run.protocol, number, word)}.png"
            save_picture(folder / path, picture, TILE)
            tiles.append(Tile(path, word))
        words = f"Dice {show(case['dice_lesion'])}, Jaccard {show(case['jaccard_lesion'])}"
        rows.append((plain(case["image_id"]), words, tiles))
    caption = (
        f"{run.run.architecture}, {run.run.protocol}, seed {run.run.seed}: test slices from its worst to its best "
        "lesion Dice, evenly spread; slices without any lesion, true or predicted, left out."
    )
    name = f"truth-{task.name}-{run.run.protocol}"
    legend = (*class_legend(task, prepared), *ERROR_LEGEND)
    return Gallery(name, f"Ground truth against prediction, {run.run.protocol}", caption, rows, legend)


def _draw_models(
    folder: Path, task: Task, protocol: str, runs: Sequence[FinishedRun], prepared: Prepared, image_id: str
) -> Gallery:
    assert prepared.masks is not None
    place = prepared.position[image_id]
    image, truth = np.asarray(prepared.images[place]), _lesion(task, np.asarray(prepared.masks[place]))
    tiles = []
    for run in runs:
        predicted = run.read_masks().get((image_id, 0))
        if predicted is None or predicted.shape != image.shape:
            continue
        path = f"figures/cases/{slug(task.name, protocol, 'model', run.run.architecture)}.png"
        save_picture(folder / path, overlay_errors(image, truth, _lesion(task, predicted)), TILE)
        case = run.cases[(run.cases["image_id"] == image_id) & (run.cases["copy"] == 0)].iloc[0]
        tiles.append(Tile(path, f"{run.run.architecture}: Dice {show(case['dice_lesion'])}"))
    caption = f"Lesion of {plain(image_id)}, the case of median Dice for the best model; best model first."
    return Gallery(
        f"overlays-{task.name}-{protocol}",
        f"Every model on one case, {protocol}",
        caption,
        [("", "", tiles)],
        ERROR_LEGEND,
    )
