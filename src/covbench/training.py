"""Fit one model under one protocol: head first, then everything, the best epoch kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import pandas as pd

from covbench.augmentation import AUGMENTATIONS
from covbench.folds import Fold
from covbench.loading import Batches
from covbench.models.batch_norm import refresh_batch_norm
from covbench.models.losses import build_loss
from covbench.protocols import Options
from covbench.schema import HISTORY_COLUMNS, CovbenchError

log = logging.getLogger(__name__)

REFRESH_BATCHES = 30  # enough images for stable statistics, a fraction of an epoch on the large datasets


@dataclass
class Progress:
    """What training has seen so far: a row per epoch, and the weights of the best one."""

    history: list[dict[str, Any]] = field(default_factory=list)
    best_loss: float = np.inf
    best_epoch: int = -1
    best_weights: list[np.ndarray] = field(default_factory=list)

    def table(self) -> pd.DataFrame:
        """The learning curves, in the columns of schema.HISTORY_COLUMNS."""
        dtypes = {name: column.dtype for name, column in HISTORY_COLUMNS.items()}
        return pd.DataFrame(self.history, columns=list(HISTORY_COLUMNS)).astype(dtypes)


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed Python, numpy and the backend; `deterministic` also forbids kernels whose sums vary."""
    keras.utils.set_random_seed(seed)
    if deterministic and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


def train_model(
    model: keras.Model,
    train: Fold,
    val: Fold,
    options: Options,
    seed: int,
    after_epoch: Callable[[pd.DataFrame], None],
) -> Progress:
    """Fit `model` in place and leave it with the weights of the epoch of lowest validation loss.

    after_epoch receives the learning curves so far. Raises CovbenchError when the loss is not a number.
    """
    weights = weigh_classes(train) if options.class_weights else None
    progress = Progress()
    for phase, epochs, rate in (
        ("head", options.head_epochs, options.head_rate),
        ("fine_tune", options.fine_tune_epochs, options.fine_tune_rate),
    ):
        if epochs:
            _restore(model, progress)
            _compile(model, phase, epochs * -(-len(train) // options.batch_size), rate, options, weights)
            _run_phase(model, phase, epochs, train, val, options, seed, progress, after_epoch)
    _restore(model, progress)
    return progress


def weigh_classes(train: Fold) -> list[float]:
    """Inverse class frequency, mean 1 over the images or pixels of the fold; 1 for a class that it lacks.

    Frequencies of pixels are damped by a square root, since a lesion may fill a thousandth of the picture.
    """
    if train.masks is None:
        counts = np.bincount(train.labels, minlength=train.classes).astype(float)
        present = counts > 0
        raw = np.where(present, counts.sum() / np.maximum(counts, 1) / present.sum(), 1.0)
        return raw.tolist()
    counts = np.zeros(train.classes)
    for place in train.positions:
        counts += np.bincount(train.masks[place].ravel(), minlength=train.classes)
    raw = np.where(counts > 0, np.sqrt(counts.sum() / np.maximum(counts, 1)), 1.0)
    return (raw / raw.mean()).tolist()


def _compile(
    model: keras.Model, phase: str, steps: int, rate: float, options: Options, class_weights: list[float] | None
) -> None:
    if "backbone" in {layer.name for layer in model.layers}:
        model.get_layer("backbone").trainable = phase == "fine_tune"
    schedule = keras.optimizers.schedules.ExponentialDecay(rate, steps, options.decay) if options.decay < 1 else rate
    model.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss=build_loss(options.loss, class_weights),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=False,
    )


def _run_phase(
    model: keras.Model,
    phase: str,
    epochs: int,
    train: Fold,
    val: Fold,
    options: Options,
    seed: int,
    progress: Progress,
    after_epoch: Callable[[pd.DataFrame], None],
) -> None:
    first = len(progress.history)
    waited = 0
    for epoch in range(first, first + epochs):
        row = _run_epoch(model, phase, epoch, train, val, options, seed)
        progress.history.append(row)
        after_epoch(progress.table())
        waited += 1
        if row["val_loss"] < progress.best_loss:
            progress.best_loss, progress.best_epoch, waited = row["val_loss"], epoch, 0
            progress.best_weights = model.get_weights()
        if options.patience and waited >= options.patience:
            log.info("%s stops early after epoch %d: no better validation loss in %d epochs", phase, epoch, waited)
            return


def _run_epoch(
    model: keras.Model, phase: str, epoch: int, train: Fold, val: Fold, options: Options, seed: int
) -> dict[str, Any]:
    started = time.monotonic()
    augmentation = AUGMENTATIONS[options.augmentation]
    batches = Batches(train, options.batch_size, seed, epoch, augmentation, shuffle=True)
    keras.utils.set_random_seed(seed + epoch)
    _reseed_layers(model, seed, epoch)
    fitted = model.fit(batches, initial_epoch=epoch, epochs=epoch + 1, verbose=0).history
    if not np.isfinite(fitted["loss"][-1]):
        raise CovbenchError(
            f"epoch {epoch}: the training loss is {fitted['loss'][-1]} at rate {_learning_rate(model):.2e}; no model "
            "is published. Lower head_rate or fine_tune_rate under `options` in the config."
        )
    if options.refresh_batch_norm and (phase == "fine_tune" or _has_no_backbone(model)):
        refresh_batch_norm(model, (batches[i][0] for i in range(min(len(batches), REFRESH_BATCHES))))
    checked = model.evaluate(Batches(val, options.batch_size, seed), verbose=0, return_dict=True)
    row = {
        "epoch": epoch,
        "phase": phase,
        "learning_rate": _learning_rate(model),
        "loss": fitted["loss"][-1],
        "accuracy": fitted["accuracy"][-1],
        "val_loss": checked["loss"],
        "val_accuracy": checked["accuracy"],
        "seconds": time.monotonic() - started,
    }
    log.info("epoch %(epoch)d %(phase)s loss %(loss).4f val_loss %(val_loss).4f val_accuracy %(val_accuracy).3f", row)
    return row


def _has_no_backbone(model: keras.Model) -> bool:
    return all(layer.name != "backbone" for layer in model.layers)


def _reseed_layers(model: keras.Model, seed: int, epoch: int) -> None:
    """Dropout's generators are saved in no file: their state is set from (seed, epoch, place)."""
    for place, layer in enumerate(model._flatten_layers()):
        if hasattr(layer, "seed_generator"):
            state = np.random.default_rng([seed, epoch, place]).integers(0, 2**31, 2)
            layer.seed_generator.state.assign(state.astype("uint32"))


def _learning_rate(model: keras.Model) -> float:
    return float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))


def _restore(model: keras.Model, progress: Progress) -> None:
    if progress.best_weights:
        model.set_weights(progress.best_weights)
