"""The section on subgroups: each model's score in each of them, and the gap between the best and the worst."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from covbench.evaluation.definitions import label_metric
from covbench.reporting.tables import Cell, Table, describe_cover, number_cell, order_protocols, signed_cell
from covbench.reporting.wording import count, name_protocol, plain, show

FACT_NAMES = {"sex": "sex", "age_band": "age", "view": "view", "source": "source", "lesion_size": "lesion size"}


@dataclass(frozen=True)
class SubgroupSection:
    """What a task's page shows about subgroups. A table without rows is None."""

    readings: list[str]
    gaps: Table | None
    scores: Table | None


def build_subgroup_section(subgroups: pd.DataFrame, gaps: pd.DataFrame, metric: str) -> SubgroupSection:
    """Make the section of one task.

    Args:
        subgroups: rows of results/compare/subgroups.csv of one task.
        gaps: rows of results/compare/subgroup_gaps.csv of the same task.
        metric: the metric that is shown.

    Returns:
        A sentence per protocol and fact, and both tables.
    """
    shown = gaps[gaps["metric"] == metric]
    scores = subgroups[subgroups["metric"].isin([metric, ""])]
    return SubgroupSection(
        list(_read_gaps(shown, metric)),
        _build_gap_table(shown, metric) if len(shown) else None,
        _build_score_table(scores, metric) if len(scores) else None,
    )


def _read_gaps(gaps: pd.DataFrame, metric: str) -> Iterator[str]:
    """Say how many models have a clear gap. Constant answers, whose gap is 0, do not count."""
    gaps = gaps[gaps["gap"] > 0]
    for protocol in order_protocols(gaps["protocol"]):
        for fact, rows in gaps[gaps["protocol"] == protocol].groupby("fact", sort=False):
            where = f"{name_protocol(protocol)}, {FACT_NAMES[str(fact)]}"
            clear, worst = int((rows["low"] > 0).sum()), rows["worst"].mode()[0]
            yield (
                f"{where}: the interval of the gap in {label_metric(metric)} is above 0 for {clear} of "
                f"{count(len(rows), 'model')}. The median gap is {show(rows['gap'].median())}, and the worst subgroup "
                f"is most often {plain(worst)}."
            )


def _build_gap_table(gaps: pd.DataFrame, metric: str) -> Table:
    rows = []
    for row in gaps.sort_values("gap", ascending=False, kind="stable").to_dict("records"):
        cells = [Cell(row["architecture"], row["architecture"]), Cell(name_protocol(row["protocol"]))]
        cells += [Cell(FACT_NAMES[row["fact"]]), Cell(plain(row["best"])), Cell(plain(row["worst"]))]
        rows.append([*cells, signed_cell(row["gap"], row["low"], row["high"], row["reason"])])
    headings = [("Model", ""), ("Protocol", ""), ("Fact", ""), ("Best", "subgroup"), ("Worst", "subgroup")]
    headings.append(("Gap", "best minus worst · 95 % interval that holds for all pairs of subgroups at once"))
    caption = f"{label_metric(metric)}: gap between the best and the worst subgroup; {describe_cover(gaps['covers'])}"
    return Table(caption, headings, rows, ("Protocol", "Fact"))


def _build_score_table(subgroups: pd.DataFrame, metric: str) -> Table:
    rows = []
    for row in subgroups.to_dict("records"):
        cells = [Cell(row["architecture"], row["architecture"]), Cell(name_protocol(row["protocol"]))]
        cells += [Cell(FACT_NAMES[row["fact"]]), Cell(plain(row["subgroup"]))]
        cells += [Cell(f"{int(row[name]):,}", float(row[name])) for name in ("images", "groups")]
        rows.append([*cells, number_cell(row["mean"], row["low"], row["high"], note=row["reason"])])
    headings = [("Model", ""), ("Protocol", ""), ("Fact", ""), ("Subgroup", "")]
    headings += [("Images", "test images, all seeds together"), ("Groups", "patients with all near-duplicates")]
    headings.append((label_metric(metric), "mean over seeds · 95 % interval"))
    unscored = subgroups[subgroups["mean"].isna()].to_dict("records")
    notes = [f"{FACT_NAMES[row['fact']]}, {plain(row['subgroup'])}: {row['reason']}" for row in unscored]
    notes.append("For other metrics, see results/compare/subgroups.csv and subgroup_gaps.csv.")
    return Table("Scores in subgroups", headings, rows, ("Protocol", "Fact"), list(dict.fromkeys(notes)))
