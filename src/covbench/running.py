"""One training job from files to files: everything that needs the network loaded happens in one process."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from covbench.datasets import TASKS
from covbench.devices import compute_in_float32, describe_device, set_precision
from covbench.files import write_json, write_predictions, write_table, write_whole
from covbench.folds import Fold, open_folds, tabulate_predictions
from covbench.manifest import describe_run, gather_inputs, name_inputs
from covbench.models.batch_norm import fused_batch_norm
from covbench.models.classifier import build_classifier
from covbench.models.segmenter import build_segmenter
from covbench.prediction import predict_masks, predict_probabilities
from covbench.protocols import Options
from covbench.schema import SEGMENTATION, Run
from covbench.training import seed_everything, train_model

log = logging.getLogger(__name__)


def train_run(
    run: Run,
    options: Mapping[str, Any],
    split_path: str,
    prepared_paths: Sequence[str],
    weights_path: str | None,
    outputs: Mapping[str, str],
    deterministic: bool,
    precision: str = "auto",
) -> None:
    """Train a run and write its model, history, manifest and predictions (and masks) to `outputs`."""
    started = time.monotonic()
    task, choices = TASKS[run.task], Options(**options)
    train, val, test = open_folds(split_path, prepared_paths, ("train", "val", "test"), len(task.classes))
    log.info("%s: %d train, %d val, %d test rows", run.folder, len(train), len(val), len(test))
    seed_everything(run.seed, deterministic)
    policy = set_precision(precision)
    model = build_model(run, choices, len(task.classes), weights_path)
    with fused_batch_norm():
        progress = train_model(
            model, train, val, choices, run.seed, after_epoch=lambda curves: write_table(outputs["history"], curves)
        )
    compute_in_float32(model)
    with write_whole(outputs["model"]) as temporary:
        keras.Model(model.inputs, model.outputs, name=model.name).save(temporary)  # no optimizer: a third of the size
    predict_run(model, {"val": val, "test": test}, choices, run.seed, outputs)
    files = name_inputs(split_path, prepared_paths, weights_path)
    manifest = describe_run(
        gather_inputs(run, options, files, {"deterministic": deterministic, "precision": precision}),
        device=describe_device(),
        precision=policy,
        seconds=round(time.monotonic() - started, 1),
        parameters=model.count_params(),
        epochs_run=len(progress.history),
        best_epoch=progress.best_epoch,
        weights=Path(weights_path).name if weights_path else "none",
    )
    write_json(outputs["manifest"], manifest)


def build_model(run: Run, options: Options, classes: int, weights_path: str | None) -> keras.Model:
    """The untrained network of a run: raw 0-255 RGB in, probabilities out."""
    weights = Path(weights_path) if weights_path else None
    if TASKS[run.task].kind == SEGMENTATION:
        return build_segmenter(run.architecture, options.size, classes, options.scaling, weights)
    return build_classifier(run.architecture, options.size, classes, options.head, options.scaling, weights)


def predict_run(
    model: keras.Model, folds: Mapping[str, Fold], options: Options, seed: int, outputs: Mapping[str, str]
) -> None:
    """Write the predictions of the given folds, one table after the other, and the masks in the same order."""
    tables, maps = [], []
    for name, fold in folds.items():
        probabilities = None
        if fold.masks is None:
            probabilities = predict_probabilities(model, fold, options, seed)
        else:
            maps.append(predict_masks(model, fold, options, seed))
        tables.append(tabulate_predictions(fold, name, seed, probabilities))
    write_predictions(pd.concat(tables, ignore_index=True), maps, outputs)
