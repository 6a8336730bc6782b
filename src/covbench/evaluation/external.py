"""Score stored predictions for the images of another dataset. No model is loaded."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.external import SHARED, share_labels, share_probabilities
from covbench.data.folds import open_truth
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.schema import Task
from covbench.system.files import write_json, write_table

log = logging.getLogger(__name__)

COUNTS = ("usable", "duplicates", "removed", "images", "patients", "groups")
"""What is counted of an external dataset: its usable images, those with a duplicate in the models' dataset, the images
removed together with their groups, and the images, patients (None where it publishes none) and groups that are left.
"""

Scores = tuple[Mapping[str, Any], pd.DataFrame]
"""The content of metrics.json and of cases.parquet for one test fold."""


def score_external(task: Task, external: Task, files: Mapping[str, Any], outputs: Mapping[str, str]) -> None:
    """Score the seeds of a model on another dataset, in the task that both datasets share.

    Args:
        task: of the models.
        external: the task that they are tested on.
        files: `predictions` and `manifest` as training.predict_external writes them. Where pixels are labelled, also
            its `masks`, and `prepared`, the paths of rows.parquet and masks.npy of the external task.
        outputs: two paths. `metrics` gets the counts of images and, by seed, the content of metrics.json with the run's
            fingerprint. `cases` gets a row per image and seed. Both are empty if no image is new to the models.
    """
    manifest = json.loads(Path(files["manifest"]).read_text(encoding="utf-8"))
    predictions = pd.read_parquet(files["predictions"])
    masks = truth = np.empty(0, np.uint8)
    if "masks" in files and len(predictions):
        masks, truth = _load_masks(predictions, files, external)
    scores: dict[str, Any] = {}
    tables = []
    for seed, fingerprint in manifest["fingerprints"].items() if len(predictions) else ():
        mine = predictions["seed"] == int(seed)
        rows = predictions[mine].reset_index(drop=True)
        if "masks" in files:
            metrics, cases = score_masks(rows, masks[mine.to_numpy()], task, truth)
        else:
            metrics, cases = score_probabilities(rows, task)
        scores[seed] = {**metrics, "patients": manifest["patients"], "fingerprint": fingerprint}
        tables.append(cases.assign(seed=int(seed)))
        log.info("seed %s: %s", seed, metrics["metrics"])
    none = pd.DataFrame({"image_id": [], "patient_id": [], "seed": []})
    write_table(outputs["cases"], pd.concat(tables, ignore_index=True) if tables else none)
    write_json(outputs["metrics"], {**{name: manifest[name] for name in COUNTS}, "seeds": scores})


def score_probabilities(rows: pd.DataFrame, task: Task) -> Scores:
    """Score one seed's class probabilities. rows: schema.PREDICTION_COLUMNS, and p_0 … of the classes of `task`."""
    names = [f"p_{number}" for number in range(len(task.classes))]
    shared = share_probabilities(rows[names].to_numpy(), task)
    table = rows.drop(columns=names).assign(p_0=shared[:, 0], p_1=shared[:, 1])
    return evaluate_classification(table, SHARED[task.kind])


def score_masks(rows: pd.DataFrame, predicted: np.ndarray, task: Task, truth: np.ndarray) -> Scores:
    """Score one seed's class maps.

    Args:
        rows: schema.PREDICTION_COLUMNS, (R,).
        predicted: uint8, (R, H, W), classes of `task`.
        task: of the models.
        truth: uint8, (R, H, W), 1 for lesions.

    Returns:
        metrics.json and cases.parquet.
    """
    return evaluate_segmentation(rows, truth, share_labels(task)[predicted], SHARED[task.kind])


def _load_masks(predictions: pd.DataFrame, files: Mapping[str, Any], external: Task) -> tuple[np.ndarray, np.ndarray]:
    """Load the predicted masks of all seeds, and the annotated lesions, uint8, (R, H, W), of the images of one."""
    with np.load(files["masks"]) as stored:
        masks = stored["masks"]
    paths = {Path(path).name: path for path in files["prepared"]}
    one_seed = predictions[predictions["seed"] == predictions["seed"].iloc[0]]  # every seed predicts the same rows
    fold = open_truth(one_seed, paths["rows.parquet"], paths["masks.npy"], len(external.classes))
    return masks, share_labels(external)[fold.load_masks()]
