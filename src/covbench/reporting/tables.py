"""The report's tables as plain cells. This module decides their content, templates/ their look."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from covbench.evaluation.comparison.intervals import BOTH, PATIENTS
from covbench.experiment.plan import DEEP
from covbench.experiment.runs import RunState
from covbench.protocols import AUDITED, PUBLISHED, PUBLISHED_AUDITED_SPLIT
from covbench.reporting.headlines import prefers_lower
from covbench.reporting.wording import DASH, is_number, name_protocol, show, show_average, show_interval, show_signed

BASELINE_TAG = "baseline"

MIXED_COVER = f"intervals cover {BOTH}, or patients alone"
"""What the caption of a table says if its cells have to say which is which."""
STATE_MARKS = {
    RunState.FAILED: "✗ failed",
    RunState.STALE: "↻ stale",
    RunState.RUNNING: "▸ running",
    RunState.TRAINED: "◐ trained",
    RunState.MISSING: "○ missing",
}
"""State -> its text in a cell of the grid, most serious first."""


def tag_family(family: str) -> str:
    """Return the word beside a model's name: its family, unless it is a network of the benchmark."""
    return "" if family == DEEP else family


@dataclass(frozen=True)
class Bar:
    """An interval bar in fractions of the cell's width. None: not drawn. A mean below 0 lies left of the bar.

    seeds: the score of each seed, drawn as ticks.
    """

    low: float | None
    mean: float
    high: float | None
    study: float | None = None
    seeds: Sequence[float] = ()


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    sort: the value that sorting compares. detail: a second, smaller line. more: further such lines. note: shown as
    tooltip and footnote. facts: data-* attributes by which the page's script filters rows.
    """

    text: str
    sort: float | str | None = None
    detail: str = ""
    more: Sequence[str] = ()
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
    detail = " · ".join(part for part in parts if part)
    return Cell(show(value), float(value), detail, note=note)  # type: ignore[arg-type]


def count_cell(value: object, pattern: str = "{:,.0f}") -> Cell:
    """A number in a pattern, by default that of a count; a dash if it is undefined."""
    return Cell(pattern.format(value), float(value)) if is_number(value) else Cell(DASH)  # type: ignore[arg-type]


def signed_cell(value: object, low: object, high: object, why: str = "") -> Cell:
    """A difference with its sign and its interval on a second line; a dash if it is undefined.

    Args:
        value: The difference.
        low: Lower end of its interval.
        high: Upper end of its interval.
        why: Why there is no interval. The second line then says that there is none.

    Returns:
        The cell, with a true minus sign.
    """
    if not is_number(value):
        return Cell(DASH)
    number, _, interval = show_signed(value, low, high).partition(" ")
    missing = "no interval" if why and not interval else ""
    return Cell(number, float(value), interval.strip("()") or missing, note=why if missing else "")  # type: ignore[arg-type]


def score_cell(row: Mapping[Any, Any], marked: bool = False) -> Cell:
    """A mean over seeds with its spread and interval, or with the reason why it has no interval.

    row: of the table `summary`, with a defined mean. marked: whether to say it if the interval covers patients alone.
    """
    cell = number_cell(row["mean"], row["low"], row["high"], row["sd"], describe_spread(row))
    if not is_number(row["low"]):
        return replace(cell, more=[row["reason"]] if row["reason"] else [])
    return replace(cell, more=["covers patients alone"] if marked and row["covers"] == PATIENTS else [])


def describe_spread(row: Mapping[Any, Any]) -> str:
    """The score of each seed, what the interval covers and why. row: of the table `summary`."""
    parts = [
        f"each seed: {row['values']}" if row["values"] else "",
        f"interval: {row['covers']}" if row["covers"] else "",
    ]
    if is_number(row["without_duplicates"]):
        left_out = f"{show_average(row['duplicates_dropped'])} near-duplicates in the test fold"
        parts.append(f"{show(row['without_duplicates'])} without {left_out}")
    return "; ".join(filter(None, [*parts, row["reason"]]))


def describe_cover(covers: Iterable[str]) -> str:
    """What the intervals of a table cover, for its caption. covers: column of the table `summary`."""
    found = set(covers) - {""}
    if found == {BOTH, PATIENTS}:
        return MIXED_COVER
    return {BOTH: f"intervals cover {BOTH}", PATIENTS: "intervals cover patients, not training"}.get(
        next(iter(found), ""), "no intervals"
    )


def list_reasons(concerned: Iterable[tuple[str, str]]) -> list[str]:
    """Write every reason once, behind all that it concerns: `a; b: reason`.

    concerned: what a reason concerns, and the reason; an empty one is left out.
    """
    reasons: dict[str, list[str]] = {}
    for what, reason in concerned:
        if reason:
            reasons.setdefault(reason, []).append(what)
    return [f"{'; '.join(names)}: {reason}" for reason, names in reasons.items()]


def order_protocols(names: Iterable[str]) -> list[str]:
    """Protocols in the order of the report: from published over its repetition on the audited folds to audited.

    Others follow by name.
    """
    known = {name: rank for rank, name in enumerate((PUBLISHED, PUBLISHED_AUDITED_SPLIT, AUDITED))}
    return sorted(set(names), key=lambda name: (known.get(name, len(known)), name))


def prefer_protocols(names: Iterable[str]) -> list[str]:
    """Protocols in the order in which one of them stands for a model: audited first, then as order_protocols."""
    return sorted(order_protocols(names), key=lambda name: name != AUDITED)


def rank_models(summary: pd.DataFrame, metric: str) -> list[str]:
    """Architectures from best to worst mean, under the first protocol of prefer_protocols that has one."""
    rows = summary[summary["metric"] == metric]
    means = rows.pivot_table(index="architecture", columns="protocol", values="mean", aggfunc="first")
    if means.empty:
        return []
    first = means[prefer_protocols(means.columns)].bfill(axis=1).iloc[:, 0]
    return [str(name) for name in first.sort_values(ascending=prefers_lower(metric), kind="stable").index]


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


def build_cost_table(runs: pd.DataFrame) -> Table:
    """Cost and origin of each scored run. runs: rows of one task, as gather.Results.runs."""
    numbers = [
        ("parameters", "Parameters", "{:,.0f}"),
        ("epochs_run", "Epochs", "{:.0f}"),
        ("best_epoch", "Best epoch", "{:.0f}"),
        ("seconds", "Seconds", "{:,.0f}"),
        ("threads", "Threads", "{:.0f}"),
        ("peak_memory_mb", "Peak memory, MB", "{:,.0f}"),
        ("energy_wh", "Energy, Wh", "{:,.1f}"),
        ("co2_g", "CO2e, g", "{:,.1f}"),
    ]
    words = [("energy_basis", "Energy is"), ("country", "Country"), ("device", "Device")]
    words += [("instruction_set", "Instruction set"), ("precision", "Precision")]
    words += [("weights", "Weights"), ("git_commit", "Commit")]
    kwh = runs.get("energy_kwh", math.nan)
    runs = runs.assign(energy_wh=kwh * 1000, co2_g=kwh * runs.get("grid_g_per_kwh", math.nan))
    rows = []
    for _, run in runs[runs["state"] == RunState.SCORED].iterrows():
        cells = [Cell(run["architecture"], run["architecture"]), Cell(name_protocol(run["protocol"]))]
        cells.append(Cell(str(run["seed"]), float(run["seed"])))
        for key, _, pattern in numbers:
            cells.append(count_cell(float(run.get(key, math.nan)), pattern))
        cells += [Cell(str(run.get(key) or DASH)[:40]) for key, _ in words]
        rows.append([*cells, link_log(run["log"], "log")])
    headings = [("Model", ""), ("Protocol", ""), ("Seed", ""), *[(heading, "") for _, heading, _ in numbers]]
    headings += [*[(heading, "") for _, heading in words], ("Log", "the link works where the report was built")]
    return Table("Cost and origin of each run", headings, rows, ("Protocol",))


def build_network_cost_table(costs: pd.DataFrame) -> Table:
    """What an answer and a training of each network cost. costs: rows of schema.NETWORK_COST_COLUMNS."""
    headings = {
        "architecture": "Model",
        "parameters": "Parameters",
        "multiply_adds": "Multiply-adds",
        "latency_ms": "Latency, ms",
        "processor_ms": "Processor time, ms",
        "memory_mb": "Memory of an answer, MB",
        "train_seconds": "Training, s",
        "train_memory_mb": "Memory of a training, MB",
        "train_wh": "Energy of a training, Wh",
        "energy_basis": "Energy is",
    }
    costs = costs.assign(train_wh=costs.get("train_kwh", math.nan) * 1000)
    whole = costs.assign(**{name: costs[name].astype(float).round() for name in [*headings][1:-2]})
    table = build_plain_table("Cost of an answer for one image, and of a training, by network", whole, headings)
    note = "Random weights on one thread of the processor where `covbench cost` ran. No score depends on them."
    return replace(table, notes=[note])


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
