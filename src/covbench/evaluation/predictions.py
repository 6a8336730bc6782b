"""What scores of both kinds of task take from stored predictions, and how bad predictions are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from covbench.schema import CovbenchError, Task

KEPT = ["image_id", "copy", "patient_id", "group", "duplicate_set", "source"]
"""Columns of schema.PREDICTION_COLUMNS that cases.parquet keeps."""


def read_masks(path: Path | str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the predicted masks of some rows of predictions.parquet.

    path: predicted_masks.npz. rows: bool, (N,), the rows to read.

    Returns class numbers, uint8, (R, H, W), and bool, (R, H, W), where no class has more than half the probability;
    None if the model gives no probabilities.
    """
    with np.load(path) as stored:
        masks = stored["masks"]
        bits = stored.get("unsure")
    if bits is None:
        return masks[rows], None
    unsure = np.unpackbits(bits[rows], axis=-1, count=masks.shape[-1]).astype(bool)
    return masks[rows], unsure


def refuse_predictions(task: Task, problem: str) -> CovbenchError:
    """Make the error for predictions that cannot be scored, with its remedy."""
    return CovbenchError(
        f"predictions of {task.name}: {problem}; delete the run's folder below results/runs/{task.name} and start "
        "snakemake: it trains and predicts again"
    )
