"""The tables of scores: every metric of a task, those of outlines and volumes, and its scores per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from covbench.evaluation.definitions import CLASS_METRICS, label_metric, list_reported, shapes
from covbench.experiment.plan import DEEP
from covbench.experiment.runs import RunState
from covbench.reporting.tables import (
    MIXED_COVER,
    Cell,
    Table,
    describe_cover,
    number_cell,
    order_protocols,
    rank_models,
    score_cell,
    state_cell,
    tag_family,
)
from covbench.reporting.wording import DASH, is_number, name_protocol, show, show_average

BESIDE = [
    ("Each seed", "score of each seed"),
    ("Without duplicates", "test images without near-duplicates in the same test fold"),
]


@dataclass(frozen=True)
class Columns:
    """The metrics of a table; what follows the headline metric, of BESIDE; and what the intervals cover, in words."""

    names: Sequence[str]
    headline: str
    beside: Sequence[tuple[str, str]]
    covers: str


def build_metric_table(
    summary: pd.DataFrame, metrics: pd.DataFrame, runs: pd.DataFrame, kind: str, headline: str
) -> Table:
    """Every metric of a task: a row per model and protocol, with mean ± sd over seeds and the 95 % interval.

    Each score of the headline metric has the scores of its seeds beside it and, where test images have near-duplicates
    in their own fold, the score without them.

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
    return _build_table("All metrics", names, summary, metrics, runs, headline)


def build_shape_table(summary: pd.DataFrame, metrics: pd.DataFrame, runs: pd.DataFrame, headline: str) -> Table | None:
    """Outlines, single lesions and volumes: a row per model and protocol, a column per metric that some run has.

    Args:
        summary: Rows of one task, as results/compare/summary.csv.
        metrics: Rows of the task, as results/compare/metrics.csv; they give the reasons of undefined values.
        runs: Rows of the task, as gather.Results.runs.
        headline: The metric that orders the models.

    Returns:
        The table. Its notes name the metrics that no run has. None for a classification.
    """
    names = [name for name in shapes.NAMES if name in set(summary["metric"])]
    if not names:
        return None
    known = set(summary.dropna(subset="mean")["metric"])
    table = _build_table("Beyond overlap", [name for name in names if name in known], summary, metrics, runs, headline)
    whole = metrics[(metrics["class"] == "") & metrics["metric"].isin(set(names) - known)]
    missing = [
        f"{'; '.join(label_metric(name) for name in names if name in set(rows['metric']))}: {reason}"
        for reason, rows in whole[whole["reason"] != ""].groupby("reason")
    ]
    return replace(table, notes=[*missing, *table.notes])


def _build_table(
    caption: str, names: Sequence[str], summary: pd.DataFrame, metrics: pd.DataFrame, runs: pd.DataFrame, headline: str
) -> Table:
    shown = summary[summary["metric"].isin(names)]
    values = {(row["architecture"], row["protocol"], row["metric"]): row for row in shown.to_dict("records")}
    reasons = collect_reasons(metrics[(metrics["class"] == "") & metrics["metric"].isin(names)])
    repeated = shown.loc[shown["metric"] == headline, "without_duplicates"].notna().any()
    columns = Columns(names, headline, BESIDE if repeated else BESIDE[:1], describe_cover(shown["covers"]))
    groups = dict(list(runs.groupby(["architecture", "protocol"])))
    ranked = list(dict.fromkeys([*rank_models(summary, headline), *runs["architecture"]]))
    rows = [
        _build_row(groups[model], *model, columns, values, reasons)
        for model in product(ranked, order_protocols(runs["protocol"]))
        if model in groups
    ]
    headings = [("Model", ""), ("Protocol", ""), ("Family", ""), ("Seeds", "scored / planned")]
    for name in names:
        headings.append((label_metric(name), "mean ± sd over seeds · 95 % interval"))
        headings += columns.beside if name == headline else []
    return Table(f"{caption}; {columns.covers}", headings, rows, ("Protocol", "Family"), list_notes(reasons))


def _build_row(
    runs: pd.DataFrame, architecture: str, protocol: str, columns: Columns,
    values: Mapping[tuple[str, str, str], Mapping[Any, Any]], reasons: Mapping[tuple[str, str, str], str],
) -> list[Cell]:  # fmt: skip
    family, seeds = next(iter(runs["family"]), DEEP), state_cell(runs)
    named = Cell(architecture, architecture, tag=tag_family(family))
    cells = [named, Cell(name_protocol(protocol)), Cell(family), seeds]
    missing = "" if seeds.kind == RunState.SCORED else seeds.kind
    for name in columns.names:
        key = (architecture, protocol, name)
        cells.append(_metric_cell(values.get(key), reasons.get(key, missing), columns.covers == MIXED_COVER))
        if name == columns.headline:
            cells += _list_beside(values.get(key, {}))[: len(columns.beside)]
    return cells


def _metric_cell(row: Mapping[Any, Any] | None, note: str, marked: bool) -> Cell:
    if row is None or not is_number(row["mean"]):
        return number_cell(None, note=note)
    cell = score_cell(row, marked)
    return replace(cell, note="; ".join(filter(None, [cell.note, note])))


def _list_beside(row: Mapping[Any, Any]) -> list[Cell]:
    """The cells of BESIDE. row: of the table `summary`; empty if there is none."""
    values = Cell(str(row.get("values") or DASH).replace(" ", " · "))
    if not is_number(row.get("without_duplicates")):
        return [values, Cell(DASH, note="no near-duplicates in the test fold" if row else "", kind="undefined")]
    left_out = f"{show_average(row['duplicates_dropped'])} images left out"
    return [values, Cell(show(row["without_duplicates"]), row["without_duplicates"], left_out)]


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
        grouped.setdefault((metric, reason), []).append(f"{architecture} ({name_protocol(protocol)})")
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
        cells = [Cell(architecture, architecture), Cell(name_protocol(protocol)), Cell(label)]
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
