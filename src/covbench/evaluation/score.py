"""Score a run's stored predictions: its metrics and a row per test image. No model is loaded."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.datasets import TASKS, publishes_patients
from covbench.data.external import share_labels
from covbench.data.folds import Fold, open_truth
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.native import measure_native
from covbench.evaluation.predictions import check_rows, read_masks, write_scores
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.experiment.plan import PlannedRun, native_grids_path, native_masks_path, split_path
from covbench.experiment.run_files import read_fingerprint
from covbench.experiment.runs import RunState, examine_runs
from covbench.schema import CovbenchError, Run, Task
from covbench.system.stage_files import check_files

log = logging.getLogger(__name__)


def score_run(run: Run, rows_path: str, masks_path: str | None, root: Path = Path()) -> None:
    """Write metrics.json and cases.parquet into the folder of a run that holds predictions.parquet.

    Args:
        run: the run. Its folder also holds predicted_masks.npz if pixels are labelled.
        rows_path: rows.parquet of the prepared arrays; read only for a segmentation.
        masks_path: masks.npy beside it; None for a classification. Of a segmentation, the masks on their stored grids
            and the table of these are read too (experiment.plan.native_masks_path, native_grids_path).
        root: the folder that holds data/ and results/.

    Raises:
        CovbenchError: a file that is read is not what its stage wrote, or the predictions do not belong to the split.
    """
    folder, task = root / run.folder, TASKS[run.task]
    read = [folder / name for name in ("predictions.parquet", "predicted_masks.npz") if (folder / name).exists()]
    hashes = check_files(read)
    fingerprint = read_fingerprint(run, folder / "manifest.json")
    predictions = pd.read_parquet(folder / "predictions.parquet")
    if (split := root / split_path(run)).exists():
        check_rows(predictions, pd.read_parquet(split), run)
    if masks_path is None:
        metrics, cases = evaluate_classification(predictions, task, publishes_patients(task.name))
    else:
        test = open_truth(predictions, root / rows_path, root / masks_path, len(task.classes))
        masks, unsure = read_masks(folder / "predicted_masks.npz", (predictions["fold"] == "test").to_numpy())
        metrics, cases = score_segmentation(test, masks, unsure, root / native_masks_path(run.task), task)
    made_from = {path.name: hashes[str(path)] for path in read}
    scores = {**metrics, "fingerprint": fingerprint}, cases
    write_scores(folder / "metrics.json", folder / "cases.parquet", scores, made_from)


def score_segmentation(
    test: Fold, masks: np.ndarray, unsure: np.ndarray | None, native_masks: Path, task: Task
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Score the predicted masks of a test fold, on the grid of its arrays and at native spacing.

    Args:
        test: the fold, with its annotated masks.
        masks: class numbers, uint8, (R, H, W).
        unsure: bool, (R, H, W), where no class has more than half the probability; None without probabilities.
        native_masks: path of the annotated masks on their stored grids, with the table of the grids beside it.
        task: the task.

    Returns:
        The content of metrics.json and of cases.parquet.
    """
    native = measure_native(test, share_labels(task)[masks], native_masks, task)
    known = publishes_patients(task.name)
    return evaluate_segmentation(test.rows, test.load_masks(), masks, task, unsure, native, known)


def score_unscored(plan: Sequence[PlannedRun], root: Path = Path()) -> None:
    """Score the trained runs without scores, or with those of other predictions. No run waits for a model's last seed.

    A run that cannot be scored is named in the log, and the others are scored.
    """
    for record in examine_runs(plan, root):
        inputs = record.planned.inputs
        native = [native_masks_path(record.task), native_grids_path(record.task)]
        needed = [inputs.rows, inputs.masks, *native] if inputs.masks else []
        if record.state is not RunState.TRAINED or not all((root / str(path)).exists() for path in needed):
            continue
        log.info("%s: %s", record.folder, record.reason)
        try:
            score_run(record.run, inputs.rows, inputs.masks, root)
        except CovbenchError as error:
            log.warning("%s cannot be scored: %s", record.folder, error)
