"""The table of calibration: each model's error, slope and intercept, and what temperature scaling changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from covbench.reporting.tables import Cell, Table, describe_cover, number_cell, order_protocols, signed_cell
from covbench.reporting.wording import name_protocol

WHOLE = {"ece": "ECE", "brier": "Brier score", "log_loss": "Log loss"}
CHANGES = {"log_loss": "Δ log loss", "brier": "Δ Brier", "ece": "Δ ECE"}
OF_CLASS = {"slope": "Slope", "intercept": "Intercept"}
MEANINGS = {
    "ece": "mean gap between confidence and share correct, in ten bins of equally many images · 95 % interval",
    "slope": "1 is best; below 1, probabilities are too extreme · 95 % interval",
    "intercept": "0 is best; above 0, probabilities are too low on average · 95 % interval",
}


def build_calibration_table(calibration: pd.DataFrame) -> Table | None:
    """Make a row per model and protocol; of several classes, slope and intercept are in the file alone.

    calibration: rows of results/compare/calibration.csv of one task.
    """
    if calibration.empty:
        return None
    of_class = calibration["metric"].isin(OF_CLASS)
    two_classes = len(set(calibration.loc[of_class, "class"])) == 1
    shown = calibration if two_classes else calibration[~of_class]
    rows = []
    for protocol in order_protocols(shown["protocol"]):
        for model, found in shown[shown["protocol"] == protocol].groupby("architecture", sort=False):
            scores = {row["metric"]: row for row in found.to_dict("records")}
            rows.append([Cell(str(model), str(model)), Cell(name_protocol(protocol)), *_list_cells(scores)])
    measured = WHOLE | (OF_CLASS if two_classes else {})
    headings = [("Model", ""), ("Protocol", "")]
    headings += [(heading, MEANINGS.get(metric, "95 % interval")) for metric, heading in measured.items()]
    headings += [("Temperature", "of each seed, fitted on its validation fold")]
    headings += [(heading, "after temperature scaling, minus before") for heading in CHANGES.values()]
    note = "Slope and intercept of each class against the rest are in results/compare/calibration.csv."
    caption = f"Calibration; {describe_cover(shown['covers'])}"
    return Table(caption, headings, rows, ("Protocol",), [] if two_classes else [note])


def _list_cells(scores: Mapping[str, Mapping[Any, Any]]) -> list[Cell]:
    cells = [
        number_cell(scores[name]["value"], scores[name]["low"], scores[name]["high"], note=scores[name]["reason"])
        for name in (*WHOLE, *OF_CLASS)
        if name in scores
    ]
    first = scores["log_loss"]
    cells.append(Cell(first["temperatures"] or "–", note="" if first["temperatures"] else first["reason"]))
    for name in CHANGES:
        row = scores[name]
        cells.append(signed_cell(row["change"], row["change_low"], row["change_high"], row["reason"]))
    return cells
