"""Differences between protocols and between models of a task, and the smallest difference that is detectable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from covbench.evaluation.definitions import label_metric
from covbench.protocols import AUDITED, PUBLISHED
from covbench.reporting.tables import BASELINE_TAG, Cell, Table, number_cell, order_protocols, signed_cell
from covbench.reporting.wording import DASH, count, is_number, join_words, show


@dataclass(frozen=True)
class ModelPairsSection:
    """What a page shows about the model pairs of one task. None: nothing to compare."""

    changes: Table | None
    pairs: Table | None
    resolution: str


def build_model_pairs_section(compared: Mapping[str, pd.DataFrame], headline: str) -> ModelPairsSection:
    """The changes, model pairs and resolution of one task.

    compared: the task's rows of the tables in schema.COMPARE_TABLES. headline: the metric that ranks its models.
    """
    changes, pairs = compared["protocols"], compared["pairs"]
    changes = changes[changes["metric"] == headline]
    return ModelPairsSection(
        changes=_build_changes(changes, headline) if len(changes) else None,
        pairs=_build_pairs(pairs) if len(pairs) else None,
        resolution=read_resolution(compared["resolution"]),
    )


def show_ranks(ranks: pd.DataFrame, metric: str) -> dict[str, str]:
    """Model -> `rank 1–4 of 12` under the first protocol that ranks it, audited before others."""
    spans: dict[str, str] = {}
    chosen = ranks[ranks["metric"] == metric]
    for protocol in order_protocols(chosen["protocol"]):
        for row in chosen[chosen["protocol"] == protocol].to_dict("records"):
            span = f"{row['best']:.0f}" + (f"{DASH}{row['worst']:.0f}" if row["worst"] > row["best"] else "")
            spans.setdefault(row["architecture"], f"rank {span} of {row['models']:.0f}")
    return spans


def read_resolution(resolution: pd.DataFrame) -> str:
    """A sentence per protocol: the smallest true differences between models that such test folds detect."""
    sentences = []
    for protocol in order_protocols(resolution["protocol"]):
        rows = resolution[(resolution["protocol"] == protocol) & resolution["resolvable"].notna()]
        if rows.empty:
            continue
        limits = [f"{show(row['resolvable'])} in {label_metric(row['metric'])}" for row in rows.to_dict("records")]
        groups = count(int(rows["groups"].max()), "group of images", "groups of images")
        basis = rows["basis"].iloc[0]
        sentences.append(
            f"Under {protocol}, 80 % of studies with {groups} detect a true difference between two models of "
            f"{join_words(limits)} ({basis})."
        )
    return " ".join(sentences)


def _build_changes(changes: pd.DataFrame, headline: str) -> Table:
    rows = []
    for row in changes.sort_values(f"mean_{AUDITED}", ascending=False, kind="stable").to_dict("records"):
        cells = [Cell(row["architecture"], row["architecture"], tag=BASELINE_TAG * (row["family"] == "baseline"))]
        for name in (PUBLISHED, AUDITED):
            cells.append(number_cell(row[f"mean_{name}"], row[f"low_{name}"], row[f"high_{name}"]))
        rows.append([*cells, signed_cell(row["change"], row["change_low"], row["change_high"])])
    headings = [("Model", ""), *[(name, "mean over seeds · 95 % interval") for name in (PUBLISHED, AUDITED)]]
    headings += [
        ("Change", "audited minus published · 95 % interval; patients in both test folds are resampled together")
    ]
    note = "For the change of other metrics, see results/compare/protocols.csv."
    return Table(f"{label_metric(headline)} under both protocols", headings, rows, notes=[note])


def _build_pairs(pairs: pd.DataFrame) -> Table:
    rows = []
    for row in pairs.to_dict("records"):
        cells = [Cell(f"{row['one']} minus {row['other']}"), Cell(row["protocol"]), Cell(label_metric(row["metric"]))]
        cells.append(signed_cell(row["difference"], row["low"], row["high"]))
        cells += [Cell(row["test"]), _p_cell(row["p"]), _p_cell(row["p_holm"])]
        rows.append(cells)
    headings = [("Pair", ""), ("Protocol", ""), ("Metric", ""), ("Difference", "mean over seeds · 95 % interval")]
    headings += [("Test", ""), ("p", "not corrected"), ("p, Holm", "corrected for all pairs of this metric (Holm)")]
    return Table("Every pair of models on the same test images", headings, rows, ("Protocol", "Metric"))


def _p_cell(value: object) -> Cell:
    if not is_number(value):
        return Cell(DASH, note="undefined in these folds")
    return Cell("< 0.001" if value < 0.001 else f"{value:.3f}", float(value))  # type: ignore[operator,arg-type]
