"""The numbers that a figure shows, as tidy tables to download beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from covbench.experiment.runs import RunRecord
from covbench.schema import Task


def tabulate_counts(counts: Mapping[str, Mapping[str, int]]) -> pd.DataFrame:
    """Task, class, images. counts: task -> class -> images."""
    rows = [(task, name, number) for task, classes in counts.items() for name, number in classes.items()]
    return pd.DataFrame(rows, columns=["task", "class", "images"])


def tabulate_confusions(sums: Sequence[tuple[str, np.ndarray]], task: Task) -> pd.DataFrame:
    """Model, truth, predicted, count. sums: model and counts, (C, C), rows truth."""
    rows = [
        (model, truth, called, matrix[row, column])
        for model, matrix in sums
        for row, truth in enumerate(task.classes)
        for column, called in enumerate(task.classes)
    ]
    return pd.DataFrame(rows, columns=["model", "truth", "predicted", "count"])


def tabulate_histories(runs: Sequence[RunRecord]) -> pd.DataFrame:
    """Learning curves of all runs in one table, with columns model and seed."""
    tables = [run.history.assign(model=run.architecture, seed=run.seed) for run in runs]
    return pd.concat([table for table in tables if not table.empty], ignore_index=True)


def tabulate_curves(curves: Sequence[tuple[str, Mapping[str, Any]]], classes: Sequence[str]) -> pd.DataFrame:
    """Points of the curves: x, y, model, class, curve (roc: false and true positive rate; pr: recall and precision)."""
    axes = {"roc": ("fpr", "tpr"), "pr": ("recall", "precision")}
    tables = [
        pd.DataFrame({"x": points[name][curve][x], "y": points[name][curve][y]}).assign(
            **{"model": model, "class": name, "curve": curve}
        )
        for model, points in curves
        for name in classes
        for curve, (x, y) in axes.items()
        if points.get(name, {}).get(curve)
    ]
    return (
        pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["x", "y", "model", "class", "curve"])
    )
