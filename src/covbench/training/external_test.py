"""One job from files to files: a trained model tested on the images of another dataset."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from covbench.data.datasets import TASKS
from covbench.data.external import SHARED, select_unseen, share_labels, share_probabilities
from covbench.data.folds import Fold, select_fold, tabulate_predictions
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.protocols import Options
from covbench.schema import Run, Task
from covbench.system.files import write_json, write_table
from covbench.training.predict import predict_masks, predict_probabilities

log = logging.getLogger(__name__)


def score_elsewhere(
    runs: Sequence[Run],
    other: str,
    options: Mapping[str, Any],
    model_paths: Sequence[str],
    index_path: str,
    duplicates_path: str,
    prepared_paths: Sequence[str],
    outputs: Mapping[str, str],
) -> None:
    """Score the models of a run's seeds on the unseen images of the task `other`, one after the other.

    Writes `metrics`, the counts of external.select_unseen and, by seed, metrics.json of the task that both share with
    the run's fingerprint; and `cases`, those of covbench.evaluation with the seed. Where every image is known to the
    models' dataset there is no seed and no case. Images are shown as the run's protocol shows its own test fold.
    """
    name, task = runs[0].task, TASKS[other]
    unseen, counts = select_unseen(pd.read_parquet(index_path), pd.read_parquet(duplicates_path), name, other)
    log.info("%s models on %s: %d of %d images are new", name, other, len(unseen), counts["usable"])
    scores: dict[str, Any] = {}
    tables = [pd.DataFrame({"image_id": [], "patient_id": [], "seed": []})]
    for run, path in zip(runs, model_paths, strict=True) if len(unseen) else ():
        model = keras.saving.load_model(path, compile=False)
        metrics, cases = _score(model, _open_fold(unseen, prepared_paths, task), Options(**options), run, task)
        manifest = json.loads(Path(path).with_name("manifest.json").read_text(encoding="utf-8"))
        scores[str(run.seed)] = {**metrics, "fingerprint": manifest["fingerprint"]}
        tables.append(cases.assign(seed=run.seed))
        keras.backend.clear_session()
        log.info("seed %d: %s", run.seed, metrics["metrics"])
    write_table(outputs["cases"], pd.concat(tables[1:] or tables, ignore_index=True))
    counts |= {"images": len(unseen), "patients": int(unseen["patient_id"].nunique())}
    write_json(outputs["metrics"], {**counts, "seeds": scores})


def _open_fold(unseen: pd.DataFrame, prepared_paths: Sequence[str], task: Task) -> Fold:
    paths = {Path(path).name: path for path in prepared_paths}
    images = np.load(paths["images.npy"], mmap_mode="r")
    masks = np.load(paths["masks.npy"], mmap_mode="r") if "masks.npy" in paths else None
    return select_fold(images, masks, pd.read_parquet(paths["rows.parquet"]), unseen, "test", len(task.classes))


def _score(
    model: keras.Model, fold: Fold, options: Options, run: Run, other: Task
) -> tuple[dict[str, Any], pd.DataFrame]:
    task, shared = TASKS[run.task], SHARED[other.kind]
    if fold.masks is None:
        probabilities = share_probabilities(predict_probabilities(model, fold, options, run.seed), task)
        return evaluate_classification(tabulate_predictions(fold, "test", run.seed, probabilities), shared)
    predicted = share_labels(task)[predict_masks(model, fold, options, run.seed)]
    rows = tabulate_predictions(fold, "test", run.seed, None)
    return evaluate_segmentation(rows, share_labels(other)[fold.load_masks()], predicted, shared)
