"""The table of how far people who read the same test images agree."""

from __future__ import annotations

import pandas as pd

from covbench.evaluation.comparison.reader_agreement import DICE, KAPPA
from covbench.reporting.tables import Cell, Table, number_cell
from covbench.reporting.wording import name_protocol

MEASURES = {KAPPA: "Cohen's κ of the classes", DICE: "Dice of the lesions"}


def build_agreement_table(agreement: pd.DataFrame) -> Table | None:
    """Make a row per pair of readers and test fold; None if no two readers saw the same one.

    agreement: rows of results/compare/agreement.csv of one task.
    """
    if agreement.empty:
        return None
    rows = []
    for row in agreement.to_dict("records"):
        cells = [Cell(f"{row['one']} and {row['other']}"), Cell(name_protocol(row["protocol"])), Cell(str(row["seed"]))]
        cells += [
            Cell(MEASURES[row["measure"]]),
            number_cell(row["value"], row["low"], row["high"], note=row["reason"]),
        ]
        rows.append([*cells, Cell(f"{row['images']:,}", row["images"])])
    headings = [("Readers", ""), ("Protocol", ""), ("Seed", ""), ("Measure", "")]
    headings += [("Agreement", "95 % interval over groups of images"), ("Images", "on which it is measured")]
    return Table("How far readers agree", headings, rows, ("Protocol",))
