"""The section on external validation: how far each score drops on other datasets."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from covbench.evaluation.definitions import label_metric
from covbench.reporting.headlines import HEADLINES
from covbench.reporting.tables import (
    Cell,
    Table,
    describe_cover,
    list_reasons,
    number_cell,
    order_protocols,
    signed_cell,
)
from covbench.reporting.wording import count, describe_size, name_protocol

SORTED_BY = ["task", "protocol", "tested_on"]


@dataclass(frozen=True)
class ExternalSection:
    """What a page shows about external validation. No table: no two planned datasets share modality and labels."""

    readings: list[str]
    table: Table | None


def build_external_section(external: pd.DataFrame) -> ExternalSection:
    """A sentence per pair of datasets, and a table with a row per model and protocol.

    external: rows of results/compare/external.csv.
    """
    shown = external[external["metric"].isin(HEADLINES.values())]
    if shown.empty:
        return ExternalSection([], None)
    pairs = shown.groupby(["task", "tested_on"], sort=False)
    return ExternalSection([_read_pair(rows) for _, rows in pairs], _build_table(shown))


def _read_pair(rows: pd.DataFrame) -> str:
    """Images used and left out, and the median drop under each protocol."""
    first = rows.iloc[0]
    words = f"{first['task']} models on {first['tested_on']}: "
    if pd.isna(first["images"]):
        return words + f"{first['reason']}."
    words += f"{describe_size(first['images'], first['patients'], first['groups'])}, "
    words += f"{int(first['removed']):,} left out ({count(int(first['duplicates']), 'duplicate')})."
    drops = []
    for protocol in order_protocols(rows["protocol"]):
        found = rows[rows["protocol"] == protocol].dropna(subset="drop")
        if len(found):
            clear, drop = int((found["drop_low"] > 0).sum()), signed_cell(found["drop"].median(), None, None).text
            drops.append(
                f"{name_protocol(protocol)} {drop} (interval above 0 for {clear} of {count(len(found), 'model')})"
            )
    return words + (f" Median drop in {label_metric(first['metric'])}: {'; '.join(drops)}." if drops else "")


def _build_table(external: pd.DataFrame) -> Table:
    rows: list[list[Cell]] = []
    concerned = []
    for row in external.sort_values([*SORTED_BY, "external"], ascending=[True] * 3 + [False]).to_dict("records"):
        cells = [Cell(row["architecture"], row["architecture"]), Cell(row["task"]), Cell(row["tested_on"])]
        cells += [Cell(name_protocol(row["protocol"])), Cell(label_metric(row["metric"]))]
        for side in ("internal", "external"):
            cells.append(number_cell(row[side], row[f"{side}_low"], row[f"{side}_high"], note=row["reason"]))
        rows.append([*cells, signed_cell(row["drop"], row["drop_low"], row["drop_high"])])
        names = (row["architecture"], f"{row['task']} on {row['tested_on']}", name_protocol(row["protocol"]))
        concerned.append((", ".join(names), row["reason"]))
    headings = [("Model", ""), ("Trained on", ""), ("Tested on", ""), ("Protocol", ""), ("Metric", "")]
    headings += [
        ("Internal", "test fold of the model's own dataset, with the labels that both datasets share · 95 % interval")
    ]
    headings += [("External", "all new images of the other dataset · 95 % interval")]
    headings += [("Drop", "internal minus external · 95 % interval; both datasets are resampled independently")]
    notes = list_reasons(concerned)
    notes.append("For other metrics and the number of images left out, see results/compare/external.csv.")
    return Table(
        f"External validation; {describe_cover(external['covers'])}",
        headings,
        rows,
        ("Trained on", "Tested on", "Protocol"),
        notes,
    )
