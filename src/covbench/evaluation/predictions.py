"""What scores of both kinds of task take from stored predictions, and how bad predictions are refused."""

from __future__ import annotations

from covbench.schema import CovbenchError, Task

KEPT = ["image_id", "copy", "patient_id", "group", "duplicate_set", "source"]
"""Columns of schema.PREDICTION_COLUMNS that cases.parquet keeps."""


def refuse_predictions(task: Task, problem: str) -> CovbenchError:
    """Make the error for predictions that cannot be scored, with its remedy."""
    return CovbenchError(
        f"predictions of {task.name}: {problem}; delete the run's folder below results/runs/{task.name} and start "
        "snakemake: it trains and predicts again"
    )
