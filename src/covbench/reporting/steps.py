"""The two steps from the study's protocol to the audited one: what the split alone changes, and what the recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from covbench.evaluation.definitions import label_metric
from covbench.protocols import AUDITED, PUBLISHED, PUBLISHED_AUDITED_SPLIT
from covbench.reporting.tables import BASELINE_TAG, Cell, Table, number_cell, rank_models, signed_cell, tag_family
from covbench.reporting.wording import count, is_number, join_words, name_metric, name_protocol, show_signed

SPLIT, RECIPE, BOTH_STEPS = "split_change", "recipe_change", "change"
STEP_NAMES = {SPLIT: "split alone", RECIPE: "recipe", BOTH_STEPS: "split and recipe"}
"""Column of the table `protocols` -> its name in the report."""
_STORY = (PUBLISHED, SPLIT, PUBLISHED_AUDITED_SPLIT, RECIPE, AUDITED, BOTH_STEPS)
_MEANINGS = {
    SPLIT: "the published recipe on the audited folds minus published",
    RECIPE: "audited minus the published recipe on the audited folds",
    BOTH_STEPS: "audited minus published",
}


def step_target(step: str) -> str:
    """The protocol that a step leads to. step: a column of the table `protocols`."""
    return PUBLISHED_AUDITED_SPLIT if step == SPLIT else AUDITED


def list_steps(row: Mapping[Any, Any]) -> list[str]:
    """List the steps that a row of the table `protocols` has; the two single ones go before both together."""
    single = [step for step in (SPLIT, RECIPE) if is_number(row.get(step))]
    return single or [step for step in (BOTH_STEPS,) if is_number(row.get(step))]


def show_step(row: Mapping[Any, Any], step: str) -> str:
    """A step with its interval: `−0.100 (−0.150 to −0.050)`. row: of the table `protocols`."""
    return show_signed(row[step], row[f"{step}_low"], row[f"{step}_high"])


def list_step_lines(changes: pd.DataFrame, metric: str) -> dict[tuple[str, str], list[str]]:
    """What each step changes, by model and the protocol that the step leads to.

    changes: rows of one task, as results/compare/protocols.csv. metric: the metric to show.

    Returns (architecture, protocol) -> `split alone −0.100` and, if there is one, its interval.
    """
    lines = {}
    for row in changes[changes["metric"] == metric].to_dict("records"):
        for step in list_steps(row):
            number, _, interval = show_step(row, step).partition(" ")
            shown = [f"{STEP_NAMES[step]} {number}", interval.strip("()")]
            lines[str(row["architecture"]), step_target(step)] = [line for line in shown if line]
    return lines


def read_steps(changes: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """A sentence per step and metric about all networks.

    changes: rows of one task, as results/compare/protocols.csv. metrics: the metrics to name.
    """
    rows = changes[changes["family"] != BASELINE_TAG].to_dict("records")
    sentences = []
    for metric in metrics:
        chosen = [row for row in rows if row["metric"] == metric]
        steps = dict.fromkeys(step for step in _STORY for row in chosen if step in list_steps(row))
        sentences += [_read_step([row for row in chosen if is_number(row[step])], step, metric) for step in steps]
    return sentences


def _read_step(rows: Sequence[Mapping[Any, Any]], step: str, metric: str) -> str:
    verb = "change" if step == BOTH_STEPS else "changes"
    words = f"The {STEP_NAMES[step]} {verb} {name_metric(metric)}"
    if len(rows) == 1:
        return f"{words} of {rows[0]['architecture']} by {show_step(rows[0], step)}."
    middle = float(pd.Series([row[step] for row in rows]).median())
    ends = [(row[f"{step}_low"], row[f"{step}_high"]) for row in rows]
    known = [(low, high) for low, high in ends if is_number(low) and is_number(high)]
    found = {
        "lies below 0": sum(high < 0 for _, high in known),
        "lies above 0": sum(low > 0 for low, _ in known),
        "contains 0": sum(low <= 0 <= high for low, high in known),
        "is missing": len(rows) - len(known),
    }
    shown = join_words([f"{word} for {number}" for word, number in found.items() if number])
    return f"{words} by {show_signed(middle)} (median of {count(len(rows), 'network')}). The interval {shown}."


def build_step_table(changes: pd.DataFrame, metrics: Sequence[str]) -> Table | None:
    """Scores of each model under each protocol, and the steps between them.

    changes: rows of one task, as results/compare/protocols.csv. metrics: the metrics to show.

    Returns the table; None if no model has scores under two protocols.
    """
    rows = changes[changes["metric"].isin(metrics)]
    if rows.empty:
        return None
    parts = [name for name in _STORY if rows[f"mean_{name}" if name not in STEP_NAMES else name].notna().any()]
    ranked = rank_models(rows.rename(columns={f"mean_{AUDITED}": "mean"}).assign(protocol=AUDITED), metrics[0])
    order = {name: place for place, name in enumerate(dict.fromkeys([*ranked, *rows["architecture"]]))}
    places = rows["architecture"].map(order) * len(metrics) + rows["metric"].map(list(metrics).index)
    records = rows.loc[places.sort_values().index].to_dict("records")
    cells = [list(_show_row(row, parts)) for row in records]
    headings = [("Model", ""), ("Metric", "")]
    for name in parts:
        meaning = f"{_MEANINGS[name]} · 95 % interval" if name in STEP_NAMES else "mean over seeds · 95 % interval"
        headings.append((f"Change: {STEP_NAMES[name]}" if name in STEP_NAMES else name_protocol(name), meaning))
    headings += [("Intervals of changes cover", ""), ("Why", "why an interval is missing or covers patients alone")]
    note = (
        "Groups of images that are in the test folds of both protocols are drawn for both. For other metrics, see "
        "results/compare/protocols.csv."
    )
    return Table("What the split alone changes, and what the recipe changes", headings, cells, ("Metric",), [note])


def _show_row(row: Mapping[Any, Any], parts: Sequence[str]) -> Iterator[Cell]:
    yield Cell(row["architecture"], row["architecture"], tag=tag_family(row["family"]))
    yield Cell(label_metric(row["metric"]))
    for name in parts:
        if name in STEP_NAMES:
            yield signed_cell(row[name], row[f"{name}_low"], row[f"{name}_high"], row["reason"])
        else:
            yield number_cell(row[f"mean_{name}"], row[f"low_{name}"], row[f"high_{name}"])
    yield Cell(row["covers"])
    yield Cell(row["reason"], kind="why")
