"""The report's tables as plain cells. This module decides their content, templates/ their look."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from covbench.evaluation.definitions import CLASS_METRICS, label_metric, list_reported
from covbench.experiment.runs import RunState
from covbench.protocols import AUDITED, PUBLISHED
from covbench.reporting.wording import DASH, is_number, show, show_interval

BASELINE_TAG = "baseline"
STATE_MARKS = {
    RunState.FAILED: "✗ failed",
    RunState.STALE: "↻ stale",
    RunState.RUNNING: "▸ running",
    RunState.TRAINED: "◐ trained",
    RunState.MISSING: "○ missing",
}
"""State -> its text in a cell of the grid, most serious first."""


@dataclass(frozen=True)
class Bar:
    """An interval bar in fractions of the cell's width. None: not drawn. A mean below 0 lies left of the bar."""

    low: float | None
    mean: float
    high: float | None
    study: float | None = None


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    sort: the value that sorting compares. detail: a second, smaller line. note: shown as tooltip and footnote. facts:
    data-* attributes by which the page's script filters rows.
    """

    text: str
    sort: float | str | None = None
    detail: str = ""
    note: str = ""
    kind: str = ""
    tag: str = ""
    bar: Bar | None = None
    link: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A sortable table.

    columns: heading and meaning; the first cell of a row names it. filters: headings whose values can be filtered.
    protocols: headings that are protocols, each with its flag or an empty text.
    """

    caption: str
    columns: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Cell]]
    filters: Sequence[str] = ()
    notes: Sequence[str] = field(default_factory=list)
    protocols: Mapping[str, str] = field(default_factory=dict)


def number_cell(value: object, low: object = None, high: object = None, sd: object = None, note: str = "") -> Cell:
    """A number with its spread and interval on a second line; a dash with a reason if it is undefined.

    Args:
        value: The number.
        low: Lower end of its interval.
        high: Upper end of its interval.
        sd: Its standard deviation over seeds.
        note: Tooltip; for an undefined value the reason, by default `not measured`.

    Returns:
        The cell. Parts that are no finite numbers are left out.
    """
    if not is_number(value):
        return Cell(DASH, None, note=note or "not measured", kind="undefined")
    parts = [f"±{show(sd)}" if is_number(sd) else "", show_interval(low, high)]
    return Cell(show(value), float(value), " · ".join(part for part in parts if part), note)  # type: ignore[arg-type]


def signed_cell(value: object, low: object, high: object) -> Cell:
    """A difference with its sign and its interval on a second line; a dash if it is undefined.

    Args:
        value: The difference.
        low: Lower end of its interval.
        high: Upper end of its interval.

    Returns:
        The cell, with a true minus sign.
    """
    if not is_number(value):
        return Cell(DASH)
    interval = f"{low:+.3f} to {high:+.3f}" if is_number(low) and is_number(high) else ""
    return Cell(f"{value:+.3f}".replace("-", "−"), float(value), interval.replace("-", "−"))  # type: ignore[arg-type]


def order_protocols(names: Iterable[str]) -> list[str]:
    """Protocols in the order of the report: audited, published, then others by name."""
    return sorted(set(names), key=lambda name: ({AUDITED: 0, PUBLISHED: 1}.get(name, 2), name))


def rank_models(summary: pd.DataFrame, metric: str) -> list[str]:
    """Architectures from best to worst, by audited mean or, without one, by published mean."""
    rows = summary[summary["metric"] == metric]
    means = rows.pivot_table(index="architecture", columns="protocol", values="mean", aggfunc="first")
    order = [name for name in (AUDITED, PUBLISHED) if name in means] + [
        name for name in means if name not in (AUDITED, PUBLISHED)
    ]
    if not order:
        return []
    first = means[order].bfill(axis=1).iloc[:, 0]
    return [str(name) for name in first.sort_values(ascending=False, kind="stable").index]


def count_states(runs: pd.DataFrame) -> dict[str, int]:
    """Count the runs in each state. runs: as gather.Results.runs."""
    return {str(state): int((runs["state"] == state).sum()) for state in RunState}


def state_cell(runs: pd.DataFrame, scored: bool = False) -> Cell:
    """How many seeds of one cell of the grid are scored, with the reasons of those that are not.

    scored: scores exist, but the requested value is undefined.
    """
    if runs.empty:
        return Cell(DASH, -1.0, note="not planned", kind="unplanned")
    if scored:
        return Cell(DASH, None, note="undefined: see the notes of the metric table", kind="undefined")
    done, planned = int((runs["state"] == RunState.SCORED).sum()), len(runs)
    reasons = "; ".join(dict.fromkeys(reason for reason in runs["reason"] if reason))
    if done == planned:
        return Cell(f"✓ {done}/{planned}", float(done), kind=str(RunState.SCORED), note=reasons or str(RunState.SCORED))
    worst = next(state for state in STATE_MARKS if (runs["state"] == state).any())
    order = done - 0.5 * (worst == RunState.FAILED)
    return Cell(f"{STATE_MARKS[worst]} {done}/{planned}", order, note=reasons or "not run yet", kind=str(worst))


def build_grid(runs: pd.DataFrame, caption: str) -> Table:
    """State of these runs: a row per architecture, a column per task."""
    tasks = list(dict.fromkeys(runs["task"]))
    groups = dict(list(runs.groupby(["architecture", "task"])))
    rows = [
        [Cell(name, name)] + [state_cell(groups.get((name, task), runs.iloc[:0])) for task in tasks]
        for name in dict.fromkeys(runs["architecture"])
    ]
    headings = [("Model", ""), *[(task, "scored / planned seeds") for task in tasks]]
    return Table(f"{caption}: scored / planned seeds", headings, rows)


def build_metric_table(
    summary: pd.DataFrame, metrics: pd.DataFrame, runs: pd.DataFrame, kind: str, headline: str
) -> Table:
    """Every metric of a task: a row per model and protocol, with mean ± sd over seeds and the 95 % interval.

    Args:
        summary: Rows of one task, as results/compare/summary.csv.
        metrics: Rows of the task, as results/compare/metrics.csv; they give the reasons of undefined values.
        runs: Rows of the task, as gather.Results.runs.
        kind: The kind of task.
        headline: The metric that orders the models.

    Returns:
        The table, with a column for each metric that occurs in `summary`.
    """
    present = set(summary["metric"])
    names = [name for name in list_reported(kind) if name in present]
    values = {(row["architecture"], row["protocol"], row["metric"]): row for _, row in summary.iterrows()}
    reasons = collect_reasons(metrics[metrics["class"] == ""])
    rows = []
    groups = dict(list(runs.groupby(["architecture", "protocol"])))
    ranked = list(dict.fromkeys([*rank_models(summary, headline), *runs["architecture"]]))
    for architecture, protocol in product(ranked, order_protocols(runs["protocol"])):
        group = groups.get((architecture, protocol))
        if group is None:
            continue
        tag = BASELINE_TAG if (group["family"] == "baseline").any() else ""
        seeds = state_cell(group)
        cells = [Cell(architecture, architecture, tag=tag), Cell(protocol), Cell(f"{tag or 'deep'}"), seeds]
        for name in names:
            key = (architecture, protocol, name)
            cells.append(
                _metric_cell(values.get(key), reasons.get(key, "" if seeds.kind == RunState.SCORED else seeds.kind))
            )
        rows.append(cells)
    headings = [("Model", ""), ("Protocol", ""), ("Family", ""), ("Seeds", "scored / planned")]
    headings += [(label_metric(name), "mean ± sd over seeds · 95 % interval") for name in names]
    return Table("All metrics", headings, rows, ("Protocol", "Family"), list_notes(reasons))


def _metric_cell(row: pd.Series | None, note: str) -> Cell:
    if row is None:
        return number_cell(None, note=note)
    return number_cell(row["mean"], row["low"], row["high"], row["sd"], note)


def collect_reasons(metrics: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    """(architecture, protocol, metric) -> why the metric is undefined for some seed."""
    undefined = metrics[metrics["value"].isna() & (metrics["reason"] != "")]
    return {
        (str(architecture), str(protocol), str(metric)): "; ".join(dict.fromkeys(rows["reason"]))
        for (architecture, protocol, metric), rows in undefined.groupby(["architecture", "protocol", "metric"])
    }


def list_notes(reasons: Mapping[tuple[str, str, str], str]) -> list[str]:
    """Footnotes: a line per metric and reason, with the models concerned."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for (architecture, protocol, metric), reason in reasons.items():
        grouped.setdefault((metric, reason), []).append(f"{architecture} ({protocol})")
    return [
        f"{label_metric(metric)} of {', '.join(models)}: {reason}"
        for (metric, reason), models in sorted(grouped.items())
    ]


def build_class_table(metrics: pd.DataFrame, names: Sequence[str]) -> Table:
    """Scores per class: a row per model, protocol and class, mean ± sd over seeds.

    metrics: rows of one task with a class, as results/compare/metrics.csv.
    """
    scores: dict[tuple[str, str, str], dict[str, list[Mapping[Any, Any]]]] = {}
    for row in metrics[(metrics["class"] != "") & metrics["metric"].isin(names)].to_dict("records"):
        key = (row["architecture"], row["protocol"], row["class"])
        scores.setdefault(key, {}).setdefault(row["metric"], []).append(row)
    names = [name for name in names if any(name in found for found in scores.values())]
    rows: list[list[Cell]] = []
    notes: dict[tuple[str, str, str], str] = {}
    for (architecture, protocol, label), found in scores.items():
        cells = [Cell(architecture, architecture), Cell(protocol), Cell(label)]
        for name in names:
            cells.append(_class_cell(found.get(name, [])))
            if cells[-1].note:
                notes[architecture, protocol, f"{CLASS_METRICS[name].label} ({label})"] = cells[-1].note
        rows.append(cells)
    headings = [
        ("Model", ""),
        ("Protocol", ""),
        ("Class", ""),
        *[(CLASS_METRICS[name].label, "mean over seeds") for name in names],
    ]
    return Table("Per class", headings, rows, ("Protocol", "Class"), list_notes(notes))


def _class_cell(seeds: Sequence[Mapping[Any, Any]]) -> Cell:
    values = [row["value"] for row in seeds if is_number(row["value"])]
    reason = "; ".join(dict.fromkeys(row["reason"] for row in seeds if not is_number(row["value"])))
    if not values:
        return number_cell(None, note=reason)
    if len(values) > 1:
        return number_cell(float(np.mean(values)), sd=float(np.std(values, ddof=1)), note=reason)
    first = next(row for row in seeds if is_number(row["value"]))
    return number_cell(values[0], first["low"], first["high"], note=reason)


def build_cost_table(runs: pd.DataFrame) -> Table:
    """Cost and origin of each scored run. runs: rows of one task, as gather.Results.runs."""
    numbers = [
        ("parameters", "Parameters", "{:,.0f}"),
        ("epochs_run", "Epochs", "{:.0f}"),
        ("best_epoch", "Best epoch", "{:.0f}"),
        ("seconds", "Seconds", "{:,.0f}"),
        ("peak_memory_mb", "Peak memory, MB", "{:,.0f}"),
    ]
    words = [("device", "Device"), ("weights", "Weights"), ("git_commit", "Commit")]
    rows = []
    for _, run in runs[runs["state"] == RunState.SCORED].iterrows():
        cells = [Cell(run["architecture"], run["architecture"]), Cell(run["protocol"])]
        cells.append(Cell(str(run["seed"]), float(run["seed"])))
        for key, _, pattern in numbers:
            value = float(run.get(key, math.nan))
            cells.append(Cell(pattern.format(value), value) if is_number(value) else Cell(DASH))
        cells += [Cell(str(run.get(key) or DASH)[:40]) for key, _ in words]
        rows.append([*cells, link_log(run["log"], "log")])
    headings = [("Model", ""), ("Protocol", ""), ("Seed", ""), *[(heading, "") for _, heading, _ in numbers]]
    headings += [*[(heading, "") for _, heading in words], ("Log", "the link works where the report was built")]
    return Table("Cost and origin of each run", headings, rows, ("Protocol",))


def link_log(log: str, text: str) -> Cell:
    """A link to a log; a dash if there is none. log: path relative to the report's folder."""
    return Cell(text, link=log) if log else Cell(DASH)


def keep_own_values(published: pd.DataFrame) -> pd.DataFrame:
    """One value of the study for each model and metric of ours: that of the row with the model's name, if there is one.

    published: rows of one task, as results/compare/published.csv.
    """
    named = published.assign(other=published["study_model"] != published["architecture"])
    return named.sort_values("other", kind="stable").drop_duplicates(["architecture", "metric"]).sort_index()


def label_study(metric: str) -> str:
    """The study's own name for a metric."""
    return {"f1": "F1", "auroc": "AUROC"}.get(metric, str(metric).capitalize())


def build_plain_table(caption: str, table: pd.DataFrame, headings: Mapping[str, str]) -> Table:
    """Columns of a data frame without further computation; whole numbers have no decimals.

    Args:
        caption: Caption of the table.
        table: The data frame.
        headings: Column -> heading, in the order of the table; missing columns are left out.

    Returns:
        The table, which can be filtered by protocol, seed and class.
    """
    names = [name for name in headings if name in table]
    rows = [[_plain_cell(row[name]) for name in names] for _, row in table.iterrows()]
    return Table(caption, [(headings[name], "") for name in names], rows, ("Protocol", "Seed", "Class"))


def _plain_cell(value: Any) -> Cell:
    if not isinstance(value, str) and pd.notna(value):
        number = float(value)
        return Cell(f"{number:,.0f}" if number.is_integer() else show(number), number)
    return Cell(value or DASH if isinstance(value, str) else DASH)
