"""What scores of both kinds of task take from stored predictions, and how bad predictions are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.experiment.plan import EXTERNAL, family_of
from covbench.experiment.records import seal_record
from covbench.schema import CovbenchError, Run, Task
from covbench.system.files import hash_file, write_checksum, write_json, write_table
from covbench.system.stage_files import name_remedy

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


def check_rows(predictions: pd.DataFrame, split: pd.DataFrame, run: Run) -> None:
    """Compare the rows of stored predictions with the split that the run was trained on.

    Args:
        predictions: schema.PREDICTION_COLUMNS.
        split: schema.SPLIT_COLUMNS.
        run: the run.

    Raises:
        CovbenchError: the rows are not those of the validation and test folds, or they are of another seed. A
            contestant from elsewhere may leave out the validation fold.
    """
    optional = family_of(run.architecture) == EXTERNAL and not (predictions["fold"] == "val").any()
    names = ["test"] if optional else ["val", "test"]
    folds = pd.concat([split[split["fold"] == fold] for fold in names]).rename(columns={"label": "truth"})
    names = ["image_id", "copy", "group", "fold", "truth"]
    differing = len(folds) != len(predictions) or any(
        (folds[name].to_numpy() != predictions[name].to_numpy()).any() for name in names
    )
    if differing or (predictions["seed"] != run.seed).any():
        path = f"{run.folder}/predictions.parquet"
        raise CovbenchError(
            f"{path}: its rows are not the validation and test folds of the run's split; {name_remedy(path)}"
        )


def write_scores(
    metrics_path: Path | str,
    cases_path: Path | str,
    scores: tuple[Mapping[str, Any], pd.DataFrame],
    made_from: Mapping[str, str],
) -> None:
    """Write metrics.json and cases.parquet. The first holds the hashes of the second and of what was scored.

    Args:
        metrics_path: path of metrics.json.
        cases_path: path of cases.parquet.
        scores: the content of both.
        made_from: name -> sha256 of each file that was scored.
    """
    metrics, cases = scores
    write_table(cases_path, cases)
    sha256 = hash_file(Path(cases_path))
    write_checksum(Path(cases_path), sha256)
    files = {**made_from, Path(cases_path).name: sha256}
    write_json(metrics_path, seal_record({**metrics, "files": files}))
