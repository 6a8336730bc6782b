"""Score stored predictions for the images of another dataset. No model is loaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.external import COUNTS, SHARED, share_labels, share_probabilities
from covbench.data.folds import Fold, open_truth
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.native import measure_native
from covbench.evaluation.predictions import write_scores
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.experiment.records import read_record
from covbench.schema import SEGMENTATION, CovbenchError, Task
from covbench.system.stage_files import check_files, name_remedy

log = logging.getLogger(__name__)

Scores = tuple[Mapping[str, Any], pd.DataFrame]
"""The content of metrics.json and of cases.parquet for one test fold."""


def score_external(task: Task, external: Task, files: Mapping[str, Any], outputs: Mapping[str, str]) -> None:
    """Score the seeds of a model on another dataset, in the task that both datasets share.

    Args:
        task: of the models.
        external: the task that they are tested on.
        files: `predictions` and `manifest` as training.predict_external writes them. Where pixels are labelled, also
            its `masks`, and `prepared`, the paths of rows.parquet, masks.npy, native_masks.npz and
            native_grids.parquet of the external task.
        outputs: two paths. `metrics` gets the counts of images and, by seed, the content of metrics.json with the run's
            fingerprint. `cases` gets a row per image and seed. Both are empty if no image is new to the models.
    """
    read = [files[name] for name in ("predictions", "masks") if name in files]
    hashes = check_files([*read, *files.get("prepared", ())])
    manifest = _read_manifest(Path(files["manifest"]))
    predictions = pd.read_parquet(files["predictions"])
    if "masks" in files and len(predictions):
        masks, annotated = _load_masks(predictions, files, external)
    scores: dict[str, Any] = {}
    tables = []
    for seed, fingerprint in manifest["fingerprints"].items() if len(predictions) else ():
        mine = predictions["seed"] == int(seed)
        rows = predictions[mine].reset_index(drop=True)
        if "masks" in files:
            metrics, cases = score_masks(rows, share_labels(task)[masks[mine.to_numpy()]], annotated)
        else:
            metrics, cases = score_probabilities(rows, task)
        scores[seed] = {**metrics, "patients": manifest["patients"], "fingerprint": fingerprint}
        tables.append(cases.assign(seed=int(seed)))
        log.info("seed %s: %s", seed, metrics["metrics"])
    none = pd.DataFrame({"image_id": [], "patient_id": [], "seed": []})
    cases = pd.concat(tables, ignore_index=True) if tables else none
    found = {**{name: manifest[name] for name in COUNTS}, "seeds": scores}, cases
    made_from = {Path(path).name: hashes[str(path)] for path in read}
    write_scores(outputs["metrics"], outputs["cases"], found, made_from)


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        return read_record(path)
    except ValueError as error:
        raise CovbenchError(f"{path} cannot be read ({error}); {name_remedy(path)}") from error


def score_probabilities(rows: pd.DataFrame, task: Task) -> Scores:
    """Score one seed's class probabilities. rows: schema.PREDICTION_COLUMNS, and p_0 … of the classes of `task`.

    Logits are left out: what they round to has no meaning among the classes that two datasets share.
    """
    names = [f"p_{number}" for number in range(len(task.classes))]
    shared = share_probabilities(rows[names].to_numpy(), task)
    dropped = [*names, *rows.filter(regex=r"^logit_")]
    table = rows.drop(columns=dropped).assign(p_0=shared[:, 0], p_1=shared[:, 1])
    return evaluate_classification(table, SHARED[task.kind])


@dataclass(frozen=True)
class Annotated:
    """The annotated masks of another dataset's images, in the order of their predictions.

    fold: the images, with class numbers of `task` as masks. stored: path of their native_masks.npz.
    """

    fold: Fold
    stored: Path
    task: Task

    @cached_property
    def lesions(self) -> np.ndarray:
        """1 for lesions: uint8, (R, H, W)."""
        return share_labels(self.task)[self.fold.load_masks()]


def score_masks(rows: pd.DataFrame, lesions: np.ndarray, annotated: Annotated) -> Scores:
    """Score one seed's lesion masks.

    Args:
        rows: schema.PREDICTION_COLUMNS, (R,).
        lesions: uint8, (R, H, W), 1 where a lesion is predicted.
        annotated: the same images.

    Returns:
        metrics.json and cases.parquet.
    """
    native = measure_native(annotated.fold, lesions, annotated.stored, annotated.task)
    return evaluate_segmentation(rows, annotated.lesions, lesions, SHARED[SEGMENTATION], native=native)


def _load_masks(predictions: pd.DataFrame, files: Mapping[str, Any], external: Task) -> tuple[np.ndarray, Annotated]:
    """Load the predicted masks of all seeds, and open the annotated ones of the images of one."""
    with np.load(files["masks"]) as stored:
        masks = stored["masks"]
    paths = {Path(path).name: path for path in files["prepared"]}
    one_seed = predictions[predictions["seed"] == predictions["seed"].iloc[0]]  # every seed predicts the same rows
    fold = open_truth(one_seed, paths["rows.parquet"], paths["masks.npy"], len(external.classes))
    return masks, Annotated(fold, Path(paths["native_masks.npz"]), external)
