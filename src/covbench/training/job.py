"""Run one training job, from files to files. Everything that needs the network happens in this one process."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import pandas as pd

from covbench.data.datasets import TASKS
from covbench.data.folds import Fold, open_folds, write_predicted
from covbench.experiment.plan import Settings
from covbench.experiment.provenance import describe_run, fingerprint_inputs, gather_inputs, name_inputs
from covbench.models.batch_norm import fused_batch_norm
from covbench.models.classifier import build_classifier
from covbench.models.segmenter import build_segmenter
from covbench.protocols import BEST, Options
from covbench.schema import FOLDS, SEGMENTATION, Run
from covbench.system.energy import UNSAID, EnergySettings, describe_energy
from covbench.system.files import write_json, write_table, write_whole
from covbench.training.devices import compute_in_float32, describe_device, is_out_of_memory, set_precision
from covbench.training.fit import seed_everything, train_model
from covbench.training.predict import predict_fold
from covbench.training.session import run_session
from covbench.training.state import Checkpointer, Progress

log = logging.getLogger(__name__)

ShowCurves = Callable[[pd.DataFrame], None]
Follow = Callable[[Run, str], AbstractContextManager[ShowCurves]]
"""From a run and its fingerprint to a context. It yields a function that receives the learning curves each epoch."""


@dataclass(frozen=True)
class TrainingJob:
    """What one training reads, what decides it, and where its outputs go.

    split, prepared, weights: paths of its input files; weights is None for random weights.
    outputs: paths by `model`, `history`, `manifest`, `predictions` and, where pixels are labelled, `masks`.
    settings: the keys of the config that decide every training.
    """

    run: Run
    options: Options
    split: str
    prepared: Sequence[str]
    weights: str | None
    outputs: Mapping[str, str]
    settings: Settings

    @classmethod
    def from_rule(cls, run: Run, inputs: Any, params: Any, outputs: Any) -> TrainingJob:
        """Take a job from its rule.

        Args:
            run: the cell of the grid, or the trial of a search.
            inputs: Snakemake's, by name.
            params: Snakemake's, with `options` and `settings`.
            outputs: Snakemake's, by name.

        Returns:
            The job.
        """
        weights = inputs.get("weights")
        return cls(
            run,
            Options(**params.options),
            split=inputs.split,
            prepared=inputs.prepared,
            weights=weights[0] if weights else None,
            outputs=dict(outputs.items()),
            settings=Settings(**params.settings),
        )

    def gather_inputs(self) -> dict[str, Any]:
        """Gather everything that decides what this job makes, as experiment.provenance.gather_inputs."""
        files = name_inputs(self.split, self.prepared, self.weights)
        return gather_inputs(self.run, asdict(self.options), files, asdict(self.settings))

    def open_folds(self, names: Sequence[str] = FOLDS) -> dict[str, Fold]:
        """Open the named folds of the split."""
        folds = open_folds(self.split, self.prepared, names, len(TASKS[self.run.task].classes))
        return dict(zip(names, folds, strict=True))


def _show_nobody(run: Run, fingerprint: str) -> AbstractContextManager[ShowCurves]:
    return nullcontext(lambda curves: None)


def train_run(job: TrainingJob, follow: Follow = _show_nobody, energy: EnergySettings = UNSAID) -> None:
    """Train a run and write its model, history, manifest, predictions and, for a segmentation, its masks.

    A killed job resumes from its last saved state. A job that finished before with the same inputs writes the same
    files again and trains nothing. session.run_session explains what happens if another process writes the run.

    Args:
        job: the training.
        follow: shows the learning curves while the run trains.
        energy: what the config says about energy.

    Raises:
        SystemExit: The process was told to stop; the code is 75.
    """
    inputs = job.gather_inputs()
    fingerprint = fingerprint_inputs(inputs)
    with run_session(job.run, fingerprint, job.outputs) as session:
        if session.finished:
            return
        folds = job.open_folds()
        log.info("%s: %s", job.run.folder, ", ".join(f"{len(fold)} {name}" for name, fold in folds.items()))
        set_precision(job.settings.precision)
        with follow(job.run, fingerprint) as show_curves:
            model, progress = fit_network(job, folds, session.checkpointer, show_curves)
        compute_in_float32(model)
        with write_whole(job.outputs["model"]) as temporary:  # without the optimizer, a third of the size
            keras.Model(model.inputs, model.outputs, name=model.name).save(temporary)
        predict_run(model, {"val": folds["val"], "test": folds["test"]}, job)
        spent = time.monotonic() - session.started + progress.seconds_before
        weights = Path(job.weights).name if job.weights else "none"
        facts = _describe_training(model, progress, job.options.keep, spent) | {"weights": weights}
        facts |= {"precision": job.settings.precision, "threads": job.settings.threads}
        facts |= describe_energy(session.checkpointer.sum_energy(progress), energy)
        write_json(job.outputs["manifest"], describe_run(inputs, **facts))


def _describe_training(model: keras.Model, progress: Progress, keep: str, seconds: float) -> dict[str, Any]:
    """Describe a finished training for manifest.json. `seconds` includes those of earlier processes."""
    return {
        "seconds": round(seconds, 1),
        "restarts": progress.restarts,
        "micro_batches": progress.micro_batches,
        "parameters": model.count_params(),
        "device": describe_device(),
        "epochs_run": len(progress.history),
        "best_epoch": progress.best_epoch if keep == BEST else len(progress.history) - 1,
    }


def fit_network(
    job: TrainingJob, folds: Mapping[str, Fold], checkpointer: Checkpointer, show_curves: ShowCurves
) -> tuple[keras.Model, Progress]:
    """Build and train a run's network, or resume it. If memory runs out, try again with two micro-batches per batch.

    Args:
        job: its history is written after each epoch.
        folds: by `train` and `val`.
        checkpointer: of the run.
        show_curves: receives the learning curves so far after each epoch.

    Returns:
        The model with the weights of the epoch that is kept, and the progress of the training.

    Raises:
        DivergedError: A loss is infinite or no number.
        SystemExit: The process was told to stop; the state is saved, the code is 75.
    """
    after_epoch = partial(_publish_curves, job.outputs["history"], show_curves)
    try:
        return _fit_once(job, folds, checkpointer, after_epoch, micro_batches=1)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        log.warning("out of memory with batches of %d: trying two micro-batches per batch", job.options.batch_size)
    keras.backend.clear_session()  # also resets the precision
    set_precision(job.settings.precision)
    gc.collect()
    return _fit_once(job, folds, checkpointer, after_epoch, micro_batches=2)


def _fit_once(
    job: TrainingJob,
    folds: Mapping[str, Fold],
    checkpointer: Checkpointer,
    after_epoch: ShowCurves,
    micro_batches: int,
) -> tuple[keras.Model, Progress]:
    train, val, seed = folds["train"], folds["val"], job.run.seed
    seed_everything(seed, job.settings.deterministic)
    model = build_model(job.run, job.options, train.classes, job.weights)
    with fused_batch_norm():
        progress = train_model(model, train, val, job.options, seed, after_epoch, checkpointer, micro_batches)
    after_epoch(progress.table())
    return model, progress


def _publish_curves(path: str, show_curves: ShowCurves, curves: pd.DataFrame) -> None:
    write_table(path, curves)
    show_curves(curves)


def build_model(run: Run, options: Options, classes: int, weights_path: str | None) -> keras.Model:
    """Build the untrained network of a run: raw 0-255 RGB in, probabilities out.

    Args:
        run: names task and architecture.
        options: of the run.
        classes: number of classes.
        weights_path: path of the pretrained backbone's weights; None for random weights.

    Returns:
        A classifier or a segmenter, depending on the kind of the task.
    """
    weights = Path(weights_path) if weights_path else None
    if TASKS[run.task].kind == SEGMENTATION:
        return build_segmenter(run.architecture, options.size, classes, options.scaling, weights, options.head)
    return build_classifier(run.architecture, options.size, classes, options.head, options.scaling, weights)


def predict_run(model: keras.Model, folds: Mapping[str, Fold], job: TrainingJob) -> None:
    """Write the predictions for some folds in the order of the folds, and their masks in the same order.

    Args:
        model: trained.
        folds: by name.
        job: its options decide how images are shown, its outputs where the predictions go.
    """
    parts = [predict_fold(model, fold, name, job.options, job.run.seed) for name, fold in folds.items()]
    write_predicted(parts, job.outputs)
