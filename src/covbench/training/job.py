"""One training job from files to files: everything that needs the network loaded happens in one process."""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from covbench.data.datasets import TASKS
from covbench.data.folds import Fold, open_folds, write_folds
from covbench.experiment.provenance import describe_run, fingerprint_inputs, gather_inputs, name_inputs
from covbench.experiment.run_locks import checkpoint_folder, lock_run, note_failure
from covbench.models.batch_norm import fused_batch_norm
from covbench.models.classifier import build_classifier
from covbench.models.segmenter import build_segmenter
from covbench.operations.mlflow.live import follow_run
from covbench.protocols import Options
from covbench.schema import SEGMENTATION, Run
from covbench.system.files import write_json, write_table, write_whole
from covbench.system.signals import Interruption
from covbench.training.checkpoints import keep_outputs, publish_kept
from covbench.training.devices import compute_in_float32, describe_device, is_out_of_memory, set_precision
from covbench.training.fit import seed_everything, train_model
from covbench.training.predict import predict_masks, predict_probabilities
from covbench.training.state import Checkpointer, Progress

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
    tracking: Mapping[str, Any] | None = None,
) -> None:
    """Train a run and write its model, history, manifest and predictions (and masks) to `outputs`.

    tracking: the config's section; with `live` in it MLflow shows the learning curves while the run trains.
    Killed at any moment and called again it goes on where it was last saved; finished before with the same inputs, it
    publishes the same files and trains nothing. While another process writes the same run it waits under SLURM and
    raises CovbenchError elsewhere. Raises SystemExit (75) when the process is told to stop; what else it raises is kept
    for covbench.training.checkpoints.read_failure.
    """
    files = name_inputs(split_path, prepared_paths, weights_path)
    inputs = gather_inputs(run, options, files, {"deterministic": deterministic, "precision": precision})
    folder = checkpoint_folder(run, fingerprint_inputs(inputs))
    on_cluster = "SLURM_JOB_ID" in os.environ  # where the other process is a job with a time limit
    with lock_run(folder.parent, wait=on_cluster), note_failure(run), Interruption() as interruption:
        if publish_kept(folder, outputs):
            log.info("%s finished before with the same inputs: published again, nothing trained", run.folder)
            return
        started = time.monotonic()
        names = ("train", "val", "test")
        folds = dict(
            zip(names, open_folds(split_path, prepared_paths, names, len(TASKS[run.task].classes)), strict=True)
        )
        log.info("%s: %s", run.folder, ", ".join(f"{len(fold)} {name}" for name, fold in folds.items()))
        choices = Options(**options)
        checkpointer = Checkpointer(folder, interruption)
        policy = set_precision(precision)
        with follow_run(tracking or {}, run, fingerprint_inputs(inputs)) as show_curves:

            def after_epoch(curves: pd.DataFrame) -> None:
                write_table(outputs["history"], curves)
                show_curves(curves)

            model, progress = fit_run(run, choices, weights_path, folds, checkpointer, deterministic, after_epoch)
        compute_in_float32(model)
        with write_whole(outputs["model"]) as temporary:  # without optimizer: a third of the size
            keras.Model(model.inputs, model.outputs, name=model.name).save(temporary)
        predict_run(model, {"val": folds["val"], "test": folds["test"]}, choices, run.seed, outputs)
        spent = time.monotonic() - started + progress.seconds_before
        facts: dict[str, Any] = {
            "seconds": round(spent, 1),
            "restarts": progress.restarts,
            "micro_batches": progress.micro_batches,
        }
        facts |= {"parameters": model.count_params(), "device": describe_device(), "precision": policy}
        facts |= {"epochs_run": len(progress.history), "best_epoch": progress.best_epoch}
        facts["weights"] = Path(weights_path).name if weights_path else "none"
        write_json(outputs["manifest"], describe_run(inputs, **facts))
        keep_outputs(folder, outputs)


def fit_run(
    run: Run,
    options: Options,
    weights_path: str | None,
    folds: Mapping[str, Fold],
    checkpointer: Checkpointer,
    deterministic: bool,
    after_epoch: Callable[[pd.DataFrame], None],
) -> tuple[keras.Model, Progress]:
    """Build and train a run's network, or go on; where memory runs out, once more with every batch in two halves."""

    def fit(micro_batches: int) -> tuple[keras.Model, Progress]:
        seed_everything(run.seed, deterministic)
        model = build_model(run, options, folds["train"].classes, weights_path)
        with fused_batch_norm():
            train, val = folds["train"], folds["val"]
            progress = train_model(model, train, val, options, run.seed, after_epoch, checkpointer, micro_batches)
        after_epoch(progress.table())
        return model, progress

    try:
        return fit(micro_batches=1)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        log.warning("out of memory with batches of %d: once more, in two halves each", options.batch_size)
    policy = keras.config.dtype_policy().name
    keras.backend.clear_session()  # which forgets the policy
    set_precision(policy)
    gc.collect()
    return fit(micro_batches=2)


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
    predicted = {
        name: (predict_probabilities if fold.masks is None else predict_masks)(model, fold, options, seed)
        for name, fold in folds.items()
    }
    write_folds(folds, predicted, seed, outputs)
