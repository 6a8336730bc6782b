"""Score a run's stored predictions: its metrics and a row per test image. No model is loaded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from covbench.data.datasets import TASKS, publishes_patients
from covbench.data.folds import open_truth
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.experiment.plan import PlannedRun
from covbench.schema import SEGMENTATION, Run
from covbench.system.files import write_json, write_table

log = logging.getLogger(__name__)


def score_run(run: Run, rows_path: str, masks_path: str | None, root: Path = Path()) -> None:
    """Write metrics.json and cases.parquet into the folder of a run that holds predictions.parquet.

    Args:
        run: the run. Its folder also holds predicted_masks.npz if pixels are labelled.
        rows_path: rows.parquet of the prepared arrays; read only for a segmentation.
        masks_path: masks.npy beside it; None for a classification.
        root: the folder that holds data/ and results/.
    """
    folder, task = root / run.folder, TASKS[run.task]
    predictions = pd.read_parquet(folder / "predictions.parquet")
    if masks_path is None:
        metrics, cases = evaluate_classification(predictions, task, publishes_patients(task.name))
    else:
        test = open_truth(predictions, root / rows_path, root / masks_path, len(task.classes))
        with np.load(folder / "predicted_masks.npz") as predicted:
            masks = predicted["masks"][(predictions["fold"] == "test").to_numpy()]
        known = publishes_patients(task.name)
        metrics, cases = evaluate_segmentation(test.rows, test.load_masks(), masks, task, known)
    write_table(folder / "cases.parquet", cases)
    write_json(folder / "metrics.json", metrics)


def score_unscored(plan: Sequence[PlannedRun], root: Path = Path()) -> None:
    """Score the planned runs whose predictions are newer than their scores, without waiting for a model's last seed."""
    for planned in plan:
        run = planned.run
        folder = root / run.folder
        needed = [folder / "predictions.parquet"]
        needed += [folder / "predicted_masks.npz"] if TASKS[run.task].kind == SEGMENTATION else []
        if all(path.exists() for path in needed) and not _is_newer(folder / "metrics.json", needed):
            log.info("%s: predicted, not scored yet", folder)
            score_run(run, planned.inputs.rows, planned.inputs.masks, root)


def _is_newer(path: Path, others: Sequence[Path]) -> bool:
    return path.exists() and path.stat().st_mtime_ns >= max(other.stat().st_mtime_ns for other in others)
