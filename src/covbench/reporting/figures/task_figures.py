"""Writes a task's figures and galleries to the report's folder, with captions and computed sentences."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from covbench.data.resizing import restore_mask
from covbench.evaluation.comparison.bootstrap import band_curves
from covbench.evaluation.comparison.draws import draw_groups
from covbench.evaluation.definitions import label_metric
from covbench.experiment.runs import RunRecord
from covbench.reporting import wording
from covbench.reporting.figures import lines_and_bars
from covbench.reporting.figures.figure_cache import FigureCache
from covbench.reporting.figures.figure_tables import (
    tabulate_confusions,
    tabulate_counts,
    tabulate_curves,
    tabulate_histories,
)
from covbench.reporting.figures.overlays import choose_spread, colour_masks, overlay_errors, save_picture
from covbench.reporting.figures.report_figure import ALL_TASKS, Gallery, ReportFigure, Tile, write_figure
from covbench.reporting.gather import Prepared, Results, read_prepared
from covbench.reporting.leading import read_leaders
from covbench.reporting.tables import describe_cover, keep_own_values, order_protocols, prefer_protocols, rank_models
from covbench.reporting.wording import name_protocol, plain, show, slug
from covbench.schema import LABELS_ONLY, SEGMENTATION, Task

log = logging.getLogger(__name__)
SAMPLES, CASES, THUMBNAIL, TILE = 6, 6, 144, 224
CURVE_DRAWS = 500


def draw_counts(
    cache: FigureCache, counts: Mapping[str, Mapping[str, int]], topic: str = ALL_TASKS
) -> ReportFigure | None:
    """The figure of samples per class.

    Args:
        cache: Where figures are drawn and kept.
        counts: Task -> class -> images.
        topic: The name of the only task, or ALL_TASKS.

    Returns:
        The figure; None if no task has any class.
    """
    counts = {task: classes for task, classes in counts.items() if classes}
    if not counts:
        return None
    ratios = {task: max(c.values()) / max(min(c.values()), 1) for task, c in counts.items() if len(c) > 1}
    widest = max(ratios, key=lambda task: ratios[task], default="")
    whose = "The" if topic != ALL_TASKS else f"Least balanced: {widest}. Its"
    reading = f"{whose} largest class is {ratios[widest]:.1f} times as large as the smallest." if ratios else ""
    caption = "Usable images per task and class. For segmentation: slices whose mask contains the class."
    name = "samples_per_class" if topic == ALL_TASKS else f"samples_per_class-{topic}"
    figure, numbers = partial(lines_and_bars.draw_class_counts, counts), tabulate_counts(counts)
    return write_figure(cache, name, figure, "Samples per class", caption, reading, numbers, topic)


def draw_task(cache: FigureCache, task: Task, results: Results) -> Iterator[ReportFigure]:
    """Every figure of a task for which there are numbers: bars, confusion matrices, curves.

    Args:
        cache: Where figures are drawn and kept.
        task: The task to show.
        results: The results of all tasks.

    Yields:
        The bars, and then the other figures by protocol, audited first.
    """
    yield from _draw_bars(cache, task, results)
    for protocol in order_protocols(run.protocol for run in results.of(task.name)):
        runs = results.of(task.name, protocol)
        yield _draw_confusions(cache, task, protocol, runs)
        if any(not run.history.empty for run in runs):
            yield _draw_histories(cache, task, protocol, runs)
        if task.kind != SEGMENTATION:
            yield _draw_curves(cache, task, protocol, runs, results.summary[results.summary["task"] == task.name])


def choose_bars(task: Task, published: pd.DataFrame, known: Collection[str]) -> list[str]:
    """The metrics of the bar charts: those that correspond to the study's, and the usual ones.

    Args:
        task: The task to show.
        published: Rows of the task, as results/compare/published.csv.
        known: Metrics that have values.

    Returns:
        Known metrics only. A classification shows the usual ones only if none corresponds to the study's.
    """
    theirs = [metric for metric in dict.fromkeys(published["our_metric"]) if metric in known]
    usual = [metric for metric in wording.BAR_METRICS[task.kind] if metric in known]
    return list(dict.fromkeys(usual + theirs)) if task.kind == SEGMENTATION else theirs or usual


def _draw_bars(cache: FigureCache, task: Task, results: Results) -> Iterator[ReportFigure]:
    summary = results.summary[results.summary["task"] == task.name]
    published = results.published[results.published["task"] == task.name]
    metrics = choose_bars(task, published, set(summary["metric"]))
    if not metrics:
        return
    study = {
        (row["architecture"], row["our_metric"]): row["reported"] for _, row in keep_own_values(published).iterrows()
    }
    models = rank_models(summary, metrics[0])
    title = f"{wording.join_words([label_metric(name) for name in metrics])} per model"
    shown = summary[summary["metric"].isin(metrics)]
    caption = f"Mean over seeds. Lines are 95 % intervals; {describe_cover(shown['covers'])}. "
    caption += "Models are sorted from best to worst. “–”: undefined."
    figure = partial(lines_and_bars.draw_metric_bars, shown, models, metrics, study)
    leaders = read_leaders(summary, results.compare["pairs"], metrics[0])
    reading = next((leaders[protocol] for protocol in prefer_protocols(leaders)), "")
    yield write_figure(cache, f"bars-{task.name}", figure, title, caption, reading, shown, task.name)


def _group_models(runs: Sequence[RunRecord]) -> dict[str, list[RunRecord]]:
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(run.architecture, []).append(run)
    return groups


def _draw_confusions(cache: FigureCache, task: Task, protocol: str, runs: Sequence[RunRecord]) -> ReportFigure:
    sums = [
        (model, np.sum([np.array(run.metrics["confusion"], float) for run in group], axis=0))
        for model, group in _group_models(runs).items()
    ]
    unit = "pixels" if task.kind == SEGMENTATION else "images"
    caption = (
        f"Rows: true class. Columns: predicted class. Cells: share of the true class, and {unit} summed over seeds."
    )
    reading = wording.read_confusions(np.sum([matrix for _, matrix in sums], axis=0), task.classes)
    figure = partial(lines_and_bars.draw_confusions, sums, task.classes)
    name, title = f"confusion-{task.name}-{protocol}", f"Confusion matrices, {name_protocol(protocol)}"
    return write_figure(cache, name, figure, title, caption, reading, tabulate_confusions(sums, task), task.name)


def _draw_histories(cache: FigureCache, task: Task, protocol: str, runs: Sequence[RunRecord]) -> ReportFigure:
    histories = {
        model: [run.history for run in group if not run.history.empty] for model, group in _group_models(runs).items()
    }
    histories = {model: tables for model, tables in histories.items() if tables}
    caption = "One line per seed. Dashed: training. Solid: validation. Dotted vertical line: start of fine-tuning."
    figure = partial(lines_and_bars.draw_learning_curves, histories)
    title, reading = f"Loss and accuracy during training, {name_protocol(protocol)}", wording.read_curves(histories)
    numbers = tabulate_histories(runs)
    return write_figure(cache, f"learning-{task.name}-{protocol}", figure, title, caption, reading, numbers, task.name)


def _draw_curves(
    cache: FigureCache, task: Task, protocol: str, runs: Sequence[RunRecord], summary: pd.DataFrame
) -> ReportFigure:
    shown = [task.positive] if task.positive else list(task.classes)
    rows = summary[(summary["metric"] == "auroc") & (summary["protocol"] == protocol)].set_index("architecture")
    first = {model: group[0] for model, group in _group_models(runs).items()}
    ranked = [name for name in rows["mean"].sort_values(ascending=False, kind="stable").index if name in first]
    ranked += [name for name in first if name not in ranked]
    curves = [(name, first[name].metrics.get("curves", {})) for name in ranked]
    labels = [f"{name} ({_show_score(rows, name)})" for name in ranked]
    bands = band_classes(first[ranked[0]], task, shown)
    caption = (
        "Test images of the lowest seed. In brackets: AUROC, mean over seeds, and its 95 % interval. The curve of "
        f"{plain(ranked[0])} has a pointwise 95 % band from {CURVE_DRAWS} bootstrap draws of groups of images. Dotted: "
        "chance."
    )
    defined = ranked[0] in rows.index and wording.is_number(rows.loc[ranked[0], "mean"])
    reading = f"Highest AUROC: {ranked[0]} with {_show_score(rows, ranked[0])}." if defined else ""
    labelled = [(label, points) for label, (_, points) in zip(labels, curves, strict=True)]
    figure = partial(lines_and_bars.draw_roc_pr, labelled, shown, bands)
    name, title = f"roc-{task.name}-{protocol}", f"ROC and precision-recall, {name_protocol(protocol)}"
    numbers = pd.concat([tabulate_curves(curves, shown), bands.assign(model=ranked[0])], ignore_index=True)
    return write_figure(cache, name, figure, title, caption, reading, numbers, task.name)


def _show_score(rows: pd.DataFrame, model: str) -> str:
    """`0.931, 0.902–0.955`. rows: columns mean, low, high; index the model."""
    if model not in rows.index:
        return wording.DASH
    row = rows.loc[model]
    return ", ".join(text for text in (show(row["mean"]), wording.show_interval(row["low"], row["high"])) if text)


def band_classes(run: RunRecord, task: Task, classes: Sequence[str]) -> pd.DataFrame:
    """Pointwise 95 % bands around a run's curves.

    Args:
        run: The run.
        task: The task of the run.
        classes: The classes to show.

    Returns:
        Columns class, curve, x, low, high; no rows if the run has no cases or gives labels without probabilities.
    """
    if run.cases.empty or LABELS_ONLY in run.cases:
        return lines_and_bars.NO_BANDS
    positions, groups = pd.factorize(run.cases["group"])
    weights = draw_groups(len(groups), CURVE_DRAWS)
    tables = []
    for name in classes:
        number = task.classes.index(name)
        is_class = run.cases["truth"].to_numpy() == number
        tables.append(band_curves(is_class, run.cases[f"p_{number}"].to_numpy(float), positions, weights))
    return pd.concat([table.assign(**{"class": name}) for name, table in zip(classes, tables, strict=True)])


def draw_samples(folder: Path, task: Task, prepared: Prepared, members: dict[str, np.ndarray]) -> Gallery | None:
    """Sample images per class, evenly spaced over its rows; slices have their classes tinted.

    Args:
        folder: The report's folder, below which the pictures are written.
        task: The task to show.
        prepared: The task's arrays.
        members: Class -> its rows of the arrays.

    Returns:
        The gallery; None if there is no class.
    """
    rows: list[tuple[str, str, Sequence[Tile]]] = []
    for name, positions in members.items():
        if not len(positions):
            rows.append((name, "no image", ()))
            continue
        chosen = positions[np.linspace(0, len(positions) - 1, min(SAMPLES, len(positions))).round().astype(int)]
        tiles = []
        for position in chosen:
            picture = np.asarray(prepared.images[position])
            if prepared.masks is not None:
                picture = colour_masks(picture, np.asarray(prepared.masks[position]))
            path = f"figures/samples/{slug(task.name, name, int(position))}.png"
            save_picture(folder / path, picture, THUMBNAIL)
            tiles.append(Tile(path, plain(prepared.rows["image_id"].iloc[int(position)])))
        rows.append((name, wording.count(len(positions), "image"), tiles))
    if not rows:
        return None
    caption = "As the models see them: grey and of one size."
    if prepared.masks is not None:
        caption += " True classes are tinted. Slices are sorted by the area of the class."
    return Gallery(f"samples-{task.name}", "Sample images per class", caption, rows, class_legend(task, prepared))


def class_legend(task: Task, prepared: Prepared) -> list[tuple[str, str]]:
    """Name and swatch of each tinted class."""
    if prepared.masks is None:
        return []
    return [(name, f"class{(number - 1) % 6}") for number, name in enumerate(task.classes) if number]


ERROR_LEGEND = (("true positive", "tp"), ("false positive", "fp"), ("false negative", "fn"))


def draw_cases(folder: Path, data: Path, task: Task, protocol: str, results: Results) -> Iterator[Gallery]:
    """Ground truth against prediction of the best model, and every model on one case, as overlays.

    Args:
        folder: The report's folder, below which the pictures are written.
        data: Folder that holds prepared/.
        task: The task to show, a segmentation.
        protocol: The protocol to show.
        results: The results of all tasks.

    Yields:
        Two galleries; none if there are no cases or no masks of the predicted size.
    """
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
    folder: Path, task: Task, run: RunRecord, prepared: Prepared, masks: dict[tuple[str, int], np.ndarray],
    cases: pd.DataFrame,
) -> Gallery:  # fmt: skip
    assert prepared.masks is not None
    rows = []
    for number, (_, case) in enumerate(cases.iterrows()):
        position, predicted = prepared.position[case["image_id"]], masks[case["image_id"], 0]
        image, truth = np.asarray(prepared.images[position]), np.asarray(prepared.masks[position])
        pictures = {
            "image": image,
            "ground truth": colour_masks(image, truth),
            "prediction": colour_masks(image, predicted),
            "errors": overlay_errors(image, _lesion(task, truth), _lesion(task, predicted)),
        }
        tiles = []
        for word, picture in pictures.items():
            path = f"figures/cases/{slug(task.name, run.protocol, number, word)}.png"
            save_picture(folder / path, picture, TILE)
            tiles.append(Tile(path, word))
        words = f"Dice {show(case['dice_lesion'])}, Jaccard {show(case['jaccard_lesion'])}"
        rows.append((plain(case["image_id"]), words, tiles))
    caption = (
        f"{run.architecture}, {name_protocol(run.protocol)}, seed {run.seed}. Test slices from the worst to the best "
        "lesion Dice, evenly spaced in rank. Slices without a true lesion are left out."
    )
    name = f"truth-{task.name}-{run.protocol}"
    legend = (*class_legend(task, prepared), *ERROR_LEGEND)
    return Gallery(name, f"Ground truth against prediction, {name_protocol(run.protocol)}", caption, rows, legend)


def _draw_models(
    folder: Path, task: Task, protocol: str, runs: Sequence[RunRecord], prepared: Prepared, image_id: str
) -> Gallery:
    assert prepared.masks is not None
    position = prepared.position[image_id]
    image, truth = np.asarray(prepared.images[position]), _lesion(task, np.asarray(prepared.masks[position]))
    tiles = []
    for run in runs:
        predicted = run.read_masks().get((image_id, 0))
        if predicted is None:
            continue
        predicted = restore_mask(predicted, image.shape)
        path = f"figures/cases/{slug(task.name, protocol, 'model', run.architecture)}.png"
        save_picture(folder / path, overlay_errors(image, truth, _lesion(task, predicted)), TILE)
        case = run.cases[(run.cases["image_id"] == image_id) & (run.cases["copy"] == 0)].iloc[0]
        tiles.append(Tile(path, f"{run.architecture}: Dice {show(case['dice_lesion'])}"))
    caption = f"Lesion of {plain(image_id)}, the median case of the best model by Dice. The best model comes first."
    return Gallery(
        f"overlays-{task.name}-{protocol}",
        f"Every model on one case, {name_protocol(protocol)}",
        caption,
        [("", "", tiles)],
        ERROR_LEGEND,
    )
