"""Writes the figures that compare models: calibration, decisions, volumes, cost against score, external validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd

from covbench.evaluation.comparison.decision_curves import measure_net_benefit
from covbench.evaluation.comparison.draws import draw_groups
from covbench.evaluation.definitions import label_metric
from covbench.evaluation.metrics.columns import MILLILITRES
from covbench.experiment.plan import DEEP
from covbench.experiment.runs import RunRecord, RunState
from covbench.reporting import wording
from covbench.reporting.figures.figure_cache import FigureCache
from covbench.reporting.figures.model_figures import (
    bin_confidence,
    draw_agreement,
    draw_calibration,
    draw_cost_front,
    draw_decision_curves,
    draw_matrix,
    find_error,
    find_front,
)
from covbench.reporting.figures.report_figure import ALL_TASKS, ReportFigure, write_figure
from covbench.reporting.figures.task_figures import CURVE_DRAWS
from covbench.reporting.gather import Results
from covbench.reporting.headlines import HEADLINES, choose_headline
from covbench.reporting.tables import order_protocols, rank_models
from covbench.reporting.wording import count, name_protocol, plain, show
from covbench.schema import LABELS_ONLY, SEGMENTATION, Task

LIMITS = ("volume_bias_ml", "volume_low_ml", "volume_high_ml")
_NONE = pd.DataFrame(columns=["confidence", "correct"])


def draw_comparisons(cache: FigureCache, task: Task, results: Results) -> Iterator[ReportFigure]:
    """Calibration and decision curves of classifiers, volumes of segmenters, and cost against score, per protocol.

    Args:
        cache: Where figures are drawn and kept.
        task: The task to show.
        results: The results of all tasks.

    Yields:
        The figures for which there are numbers.
    """
    for protocol in order_protocols(run.protocol for run in results.of(task.name)):
        runs = results.of(task.name, protocol)
        if task.kind != SEGMENTATION:
            yield from _draw_calibration(cache, task, protocol, runs)
        if task.positive:
            yield from _draw_decisions(cache, task, protocol, results)
        yield from _draw_volumes(cache, task, protocol, results)
        yield from _draw_front(cache, task, protocol, results)


def _draw_calibration(
    cache: FigureCache, task: Task, protocol: str, runs: Sequence[RunRecord]
) -> Iterator[ReportFigure]:
    cases = {
        name: pd.concat([run.cases for run in runs if run.architecture == name and not run.cases.empty] or [_NONE])
        for name in dict.fromkeys(run.architecture for run in runs)
    }
    binned = {
        name: bin_confidence(table["confidence"].to_numpy(float), table["correct"].to_numpy(bool))
        for name, table in cases.items()
        if len(table) and LABELS_ONLY not in table
    }
    if not binned:
        return
    binned = dict(sorted(binned.items(), key=lambda item: find_error(item[1])))
    best, worst = next(iter(binned)), list(binned)[-1]
    reading = f"Best calibrated: {best}, with an error of {show(find_error(binned[best]))}. "
    reading += f"Worst calibrated: {worst}, with an error of {show(find_error(binned[worst]))}."
    caption = (
        "Test images of all seeds in ten bins of confidence. In brackets: the expected calibration error of these "
    )
    caption += "bins. Dotted: perfect calibration. A model is overconfident where its line lies below the dotted one."
    numbers = pd.concat([table.assign(model=name) for name, table in binned.items()], ignore_index=True)
    name, title = f"calibration-{task.name}-{protocol}", f"Calibration, {name_protocol(protocol)}"
    yield write_figure(cache, name, partial(draw_calibration, binned), title, caption, reading, numbers, task.name)


def _draw_volumes(cache: FigureCache, task: Task, protocol: str, results: Results) -> Iterator[ReportFigure]:
    """Bland and Altman's figure of each model's lesion volumes; none where no whole volume has a known spacing."""
    volumes = _collect_volumes(results.of(task.name, protocol))
    if not volumes:
        return
    summary = results.summary[(results.summary["task"] == task.name) & (results.summary["protocol"] == protocol)]
    rows = summary[summary["metric"].isin(LIMITS)].rename(columns={"architecture": "model"})
    limits = rows[["model", "metric", "mean", "low", "high"]]
    bias = limits[limits["metric"] == LIMITS[0]].set_index("model")["mean"].dropna()
    best = str(bias.abs().idxmin()) if len(bias) else ""
    reading = f"Smallest bias: {best}, {bias[best]:+.1f} ml.".replace("-", "−") if best else ""
    caption = (
        "A dot per whole volume and seed. Solid: the bias. Dashed: the limits of agreement, between which 95 % of the "
        "differences lie if they are normally distributed. Shaded: 95 % intervals. Dotted: no difference."
    )
    numbers = pd.concat([table.assign(model=name) for name, table in volumes.items()], ignore_index=True)
    name, title = f"volumes-{task.name}-{protocol}", f"Lesion volume per scan, {name_protocol(protocol)}"
    figure = partial(draw_agreement, volumes, limits)
    yield write_figure(cache, name, figure, title, caption, reading, numbers, task.name)


def _collect_volumes(runs: Sequence[RunRecord]) -> dict[str, pd.DataFrame]:
    """Model -> patient_id, annotated and predicted volume, their mean and their difference, ml, and the seed."""
    found: dict[str, list[pd.DataFrame]] = {}
    for run in runs:
        if set(MILLILITRES) <= set(run.cases):
            table = run.cases[["patient_id", *MILLILITRES]].dropna().assign(seed=run.seed)
            true, predicted = (table[name] for name in MILLILITRES)
            if len(table):
                table = table.assign(mean=(true + predicted) / 2, difference=predicted - true)
                found.setdefault(run.architecture, []).append(table)
    return {name: pd.concat(tables, ignore_index=True) for name, tables in found.items()}


def _draw_decisions(cache: FigureCache, task: Task, protocol: str, results: Results) -> Iterator[ReportFigure]:
    first: dict[str, RunRecord] = {}
    for run in results.of(task.name, protocol):
        if not run.cases.empty and LABELS_ONLY not in run.cases:
            first.setdefault(run.architecture, run)
    summary = results.summary[(results.summary["task"] == task.name) & (results.summary["protocol"] == protocol)]
    ranked = [name for name in rank_models(summary, "auroc") if name in first]
    curves = {name: measure_decisions(first[name], task) for name in dict.fromkeys([*ranked, *first])}
    if not curves:
        return
    best, curve = next(iter(curves.items()))
    caption = (
        "Test images of the lowest seed. Net benefit: ill people treated, less healthy people treated, weighted by the "
        f"odds of the threshold, per image. The band of {plain(best)} is a pointwise 95 % band from {CURVE_DRAWS} "
        "bootstrap draws of groups of images. It holds for a population with the share of ill people of the test fold."
    )
    numbers = pd.concat([table.assign(model=name) for name, table in curves.items()], ignore_index=True)
    name, title = f"decisions-{task.name}-{protocol}", f"Decision curves, {name_protocol(protocol)}"
    drawing, reading = partial(draw_decision_curves, curves), read_decisions(best, curve)
    yield write_figure(cache, name, drawing, title, caption, reading, numbers, task.name)


def measure_decisions(run: RunRecord, task: Task) -> pd.DataFrame:
    """Measure the net benefit of a run of a two-class task: a table of measure_net_benefit."""
    codes, groups = pd.factorize(run.cases["group"])
    positive = task.classes.index(task.positive)
    scores = run.cases[f"p_{positive}"].to_numpy(float)
    is_class = run.cases["truth"].to_numpy() == positive
    return measure_net_benefit(is_class, scores, codes, draw_groups(len(groups), CURVE_DRAWS))


def read_decisions(model: str, curve: pd.DataFrame) -> str:
    """Say from which threshold to which a model is better than treating all or nobody. curve: its net benefit."""
    better = curve.loc[curve["gain_low"] > 0, "threshold"]
    if better.empty:
        return f"{model} is at no threshold better, beyond its interval, than treating all or nobody."
    whole = "" if len(better) == round(100 * (better.max() - better.min())) + 1 else ", with gaps"
    return (
        f"{model} is better, beyond its interval, than treating all or nobody at thresholds from "
        f"{show(better.min(), 2)} to {show(better.max(), 2)}{whole}."
    )


def _draw_front(cache: FigureCache, task: Task, protocol: str, results: Results) -> Iterator[ReportFigure]:
    summary, runs, published = (
        table[table["task"] == task.name] for table in (results.summary, results.runs, results.published)
    )
    headline = choose_headline(task.kind, published)
    done = runs[(runs["protocol"] == protocol) & (runs["state"] == RunState.SCORED) & (runs["family"] == DEEP)]
    if done.empty:
        return
    scores = summary[(summary["metric"] == headline) & (summary["protocol"] == protocol)].set_index("architecture")
    models = done.groupby("architecture")["seconds"].median().to_frame().join(scores[["mean", "low", "high"]])
    models = models.dropna().rename_axis("model").reset_index()
    if len(models) < 2:
        return
    front = models.iloc[find_front(models["seconds"].tolist(), models["mean"].tolist())]
    reading = (
        f"On the Pareto front: {wording.join_words(front['model'].tolist())}. No other network scores higher at the "
    )
    reading += "same or lower cost."
    caption = "Median training time over seeds, on the machine that trained each network. Lines are 95 % intervals."
    name = f"cost-{task.name}-{protocol}"
    title = f"{label_metric(headline)} against training time, {name_protocol(protocol)}"
    figure = partial(draw_cost_front, models, label_metric(headline))
    yield write_figure(cache, name, figure, title, caption, reading, models, task.name)


def draw_matrices(cache: FigureCache, external: pd.DataFrame) -> dict[str, list[ReportFigure]]:
    """Kind of task -> a matrix per protocol, trained on against tested on. external: rows of external.csv."""
    return {kind: list(_draw_matrices(cache, external, metric)) for kind, metric in HEADLINES.items()}


def _draw_matrices(cache: FigureCache, external: pd.DataFrame, metric: str) -> Iterator[ReportFigure]:
    for protocol in order_protocols(external["protocol"]):
        rows = external[(external["metric"] == metric) & (external["protocol"] == protocol)]
        rows = rows.dropna(subset=["internal", "external"])
        if rows.empty:
            continue
        there = rows.groupby(["task", "tested_on"])["external"].agg(["mean", "size"]).reset_index()
        here = rows.drop_duplicates(["task", "architecture"]).groupby("task")["internal"].agg(["mean", "size"])
        here = here.reset_index().assign(tested_on=lambda table: table["task"])
        cells = pd.concat([here, there], ignore_index=True)
        cells = cells.rename(columns={"task": "trained_on", "mean": "value", "size": "models"})
        worst = there.nsmallest(1, "mean").iloc[0]
        reading = f"Lowest external score: {worst['task']} models on {worst['tested_on']}, {show(worst['mean'])} "
        reading += f"(mean of {count(int(worst['size']), 'model')})."
        caption = "Mean over models. The diagonal shows the models' own test fold, the other cells all new images of "
        caption += "the other dataset."
        name, title = (
            f"external-{metric}-{protocol}",
            f"{label_metric(metric)}: internal and external validation, {name_protocol(protocol)}",
        )
        figure = partial(draw_matrix, cells, label_metric(metric))
        yield write_figure(cache, name, figure, title, caption, reading, cells, ALL_TASKS)
