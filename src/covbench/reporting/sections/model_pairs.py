"""Differences between protocols and between models of a task, and the smallest difference that can be resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from covbench.evaluation.comparison.model_pairs import UNDECIDABLE
from covbench.evaluation.definitions import label_metric
from covbench.reporting.steps import build_step_table
from covbench.reporting.tables import Cell, Table, order_protocols, prefer_protocols, signed_cell
from covbench.reporting.wording import DASH, count, is_number, join_words, name_metric, name_protocol, show


@dataclass(frozen=True)
class ModelPairsSection:
    """What a page shows about the model pairs of one task. None: nothing to compare."""

    changes: Table | None
    pairs: Table | None
    resolution: Sequence[str]


def build_model_pairs_section(compared: Mapping[str, pd.DataFrame], metrics: Sequence[str]) -> ModelPairsSection:
    """The changes, model pairs and resolution of one task.

    compared: the task's rows of the tables in comparison.tables.COMPARE_TABLES. metrics: those whose changes are shown.
    """
    pairs = compared["pairs"]
    return ModelPairsSection(
        changes=build_step_table(compared["protocols"], metrics),
        pairs=_build_pairs(pairs) if len(pairs) else None,
        resolution=read_resolution(compared["resolution"]),
    )


def show_ranks(ranks: pd.DataFrame, metric: str) -> dict[str, str]:
    """Model -> `rank 1–4 of 12` under the first protocol that ranks it, audited before others."""
    spans: dict[str, str] = {}
    chosen = ranks[ranks["metric"] == metric]
    for protocol in prefer_protocols(chosen["protocol"]):
        for row in chosen[chosen["protocol"] == protocol].to_dict("records"):
            span = f"{row['best']:.0f}" + (f"{DASH}{row['worst']:.0f}" if row["worst"] > row["best"] else "")
            spans.setdefault(row["architecture"], f"rank {span} of {row['models']:.0f}")
    return spans


def read_resolution(resolution: pd.DataFrame) -> list[str]:
    """A sentence per protocol: the smallest true differences between models that such studies find."""
    sentences = []
    for protocol in order_protocols(resolution["protocol"]):
        rows = resolution[resolution["protocol"] == protocol].to_dict("records")
        known = [row for row in rows if is_number(row["resolvable"])]
        if not known:
            sentences.append(f"Under {name_protocol(protocol)}, no difference is resolvable: {rows[0]['basis']}.")
            continue
        limits = [f"{show(row['resolvable'])} in {name_metric(row['metric'])}" for row in known]
        groups, seeds = (int(max(row[name] for row in known)) for name in ("groups", "seeds"))
        sentences.append(
            f"Under {name_protocol(protocol)}, 80 % of studies with {count(groups, 'group')} of images and "
            f"{count(seeds, 'seed')} find a true difference between two models of {join_words(limits)} "
            f"({known[0]['basis']})."
        )
    return sentences


def _build_pairs(pairs: pd.DataFrame) -> Table:
    rows = []
    for row in pairs.to_dict("records"):
        cells = [Cell(f"{row['one']} minus {row['other']}"), Cell(name_protocol(row["protocol"]))]
        cells += [
            Cell(label_metric(row["metric"])),
            signed_cell(row["difference"], row["low"], row["high"], row["reason"]),
        ]
        cells += [Cell(row["verdict"], note="of the first model"), Cell(_name_scope(row))]
        cells += [_p_cell(row[name], row["reason"]) for name in ("p_holm", "p", "smallest_p")]
        rows.append([*cells, Cell(row["reason"], kind="why"), Cell(row["test"])])
    headings = [("Pair", ""), ("Protocol", ""), ("Metric", ""), ("Difference", "mean over seeds · 95 % interval")]
    headings += [("First model is", "verdict: better or worse if the corrected p is below .05"), ("Speaks of", "")]
    headings += [("p, Holm", "corrected for all pairs of this metric (Holm)"), ("p", "not corrected")]
    headings += [("Smallest p", "smallest p that so many groups can give")]
    headings += [("Why", "why a pair cannot be decided, or why the verdict speaks of trained models"), ("Test", "")]
    filters = ("Protocol", "Metric", "First model is")
    return Table("Every pair of models on the same test images", headings, rows, filters)


def _name_scope(row: Mapping[Any, Any]) -> str:
    return DASH if row["verdict"] == UNDECIDABLE else str(row["scope"])


def _p_cell(value: object, reason: str) -> Cell:
    if not is_number(value):
        return Cell(DASH, note=reason, kind="undefined")
    return Cell("< 0.001" if value < 0.001 else f"{value:.3f}", float(value))  # type: ignore[operator,arg-type]
