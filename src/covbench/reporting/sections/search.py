"""The search of learning rates: what it spent, and a table of its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from covbench.reporting.tables import Cell, Table, number_cell
from covbench.reporting.wording import DASH, count, is_number, name_protocol

HEADINGS = [("Model", ""), ("Protocol", ""), ("Seed", ""), ("Trial", "0: the protocol's own rates")]
HEADINGS += [("Head rate", "backbone frozen"), ("Fine-tune rate", "everything trainable")]
HEADINGS += [("Validation loss", "of the kept epoch"), ("Epochs", ""), ("Seconds", ""), ("Chosen", "")]


@dataclass(frozen=True)
class SearchSection:
    """What a task's page shows about its search."""

    reading: str
    table: Table


def build_search_section(search: pd.DataFrame) -> SearchSection | None:
    """Make the section of one task; None without trials. search: its rows of results/compare/search.csv."""
    if search.empty:
        return None
    rows = [_build_row(row) for row in search.to_dict("records")]
    table = Table("Trials of the search, scored on the validation fold", HEADINGS, rows, ("Protocol", "Seed", "Chosen"))
    return SearchSection(_read_search(search), table)


def _read_search(search: pd.DataFrame) -> str:
    """Say what the search spent, and how often it changed the rates."""
    chosen = search[search["chosen"] == "yes"]
    changed = int((chosen["trial"] > 0).sum())
    hours = search["seconds"].sum() / 3600
    return (
        f"The search spent {count(len(search), 'trial')} and {hours:.{1 if hours >= 1 else 2}f} hours on "
        f"{count(search['architecture'].nunique(), 'network')}. It changed the learning rates of {changed} of "
        f"{count(len(chosen), 'run')}. The validation fold alone decided."
    )


def _build_row(row: Mapping[Any, Any]) -> list[Cell]:
    numbers = [Cell(f"{row[name]:,.0f}", float(row[name])) for name in ("epochs_run", "seconds")]
    return [
        Cell(row["architecture"], row["architecture"]),
        Cell(name_protocol(row["protocol"])),
        *(Cell(f"{row[name]:.0f}", float(row[name])) for name in ("seed", "trial")),
        *(_rate_cell(row[name]) for name in ("head_rate", "fine_tune_rate")),
        number_cell(row["val_loss"], note="" if is_number(row["val_loss"]) else "it became infinite or no number"),
        *numbers,
        Cell(row["chosen"]),
    ]


def _rate_cell(rate: float) -> Cell:
    return Cell(f"{rate:.2e}", float(rate)) if is_number(rate) else Cell(DASH, note="this phase is skipped")
