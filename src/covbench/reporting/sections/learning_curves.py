"""The learning curves on a model's page. uPlot draws them in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from covbench.experiment.runs import RunRecord
from covbench.reporting.figures.figure_tables import tabulate_histories
from covbench.reporting.figures.lines_and_bars import find_highest
from covbench.reporting.wording import read_curves, slug
from covbench.schema import Task
from covbench.system.files import write_table

DIGITS = 5


@dataclass(frozen=True)
class Curves:
    """values: what templates/curves.js draws. numbers: path of the same values as CSV in the report's folder."""

    reading: str
    values: dict[str, Any]
    numbers: str


def build_curves(folder: Path, task: Task, seeds: Sequence[RunRecord]) -> Curves | None:
    """Loss and accuracy of a model's runs under one protocol; their table is written below `folder`.

    Args:
        folder: The report's folder.
        task: The task of the runs.
        seeds: The runs, one per seed.

    Returns:
        The curves; None for a baseline, which has no training history.
    """
    trained = [run for run in seeds if not run.history.empty]
    if not trained:
        return None
    run = trained[0].run
    path = f"figures/{slug('model-learning', task.name, run.protocol, run.architecture)}.csv"
    write_table(folder / path, tabulate_histories(trained))
    reading = read_curves({run.architecture: [one.history for one in trained]})
    return Curves(reading, describe_curves({one.seed: one.history for one in trained}), path)


def describe_curves(histories: dict[int, pd.DataFrame]) -> dict[str, Any]:
    """Epochs, the start of fine-tuning, and the lines of each panel. histories: seed -> schema.HISTORY_COLUMNS."""
    epochs = sorted({int(epoch) for history in histories.values() for epoch in history["epoch"]})
    later = [epoch for history in histories.values() for epoch in history.loc[history["phase"] == "fine_tune", "epoch"]]
    fine_tune = min(later, default=None)
    highest = {"loss": 1.05 * find_highest(list(histories.values())), "accuracy": 1.02}
    return {
        "epochs": epochs,
        "fine_tune": int(fine_tune) if fine_tune is not None and fine_tune > epochs[0] else None,
        "panels": [
            {"word": word, "highest": top, "lines": list(_list_lines(histories, word, epochs))}
            for word, top in highest.items()
        ],
    }


def _list_lines(histories: dict[int, pd.DataFrame], word: str, epochs: list[int]) -> list[dict[str, Any]]:
    lines = []
    for seed, history in histories.items():
        by_epoch = history.set_index("epoch").reindex(epochs)
        for kind, column in (("training", word), ("validation", f"val_{word}")):
            values = [None if pd.isna(value) else float(f"{value:.{DIGITS}g}") for value in by_epoch[column].tolist()]
            label = f"{kind}, seed {seed}" if len(histories) > 1 else kind
            lines.append({"label": label, "training": kind == "training", "values": values})
    return lines
