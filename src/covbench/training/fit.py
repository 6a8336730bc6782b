"""Fit one model under one protocol: first the head, then everything. The best or the last epoch is kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import keras
import numpy as np
import pandas as pd

from covbench.data.folds import Fold
from covbench.models.losses import build_loss
from covbench.protocols import BEST, EVERY_EPOCH, Options
from covbench.training.epoch import Phase, run_epoch
from covbench.training.frozen_features import has_backbone
from covbench.training.phase_data import ImageData, prepare_features
from covbench.training.schedule import plan_phases, reduce_on_plateau
from covbench.training.state import Checkpointer, Progress, restore_optimizer

log = logging.getLogger(__name__)


def seed_everything(seed: int, deterministic: bool) -> None:
    """Seed Python, numpy and the backend. `deterministic` also forbids kernels whose sums vary."""
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
    checkpointer: Checkpointer | None = None,
    micro_batches: int = 1,
) -> Progress:
    """Fit `model` in place. It ends with the weights of the epoch that the options keep.

    Args:
        model: untrained. The last saved state is loaded into it, if there is one.
        train: the training fold.
        val: the validation fold.
        options: of the run.
        seed: of the run.
        after_epoch: receives the learning curves so far after each epoch.
        checkpointer: saves the state and finds the last one; None saves nothing.
        micro_batches: number of micro-batches per batch. Their gradients are accumulated, so the batch size stays.

    Returns:
        The progress of the training, with its learning curves.

    Raises:
        CovbenchError: A loss is not a number.
    """
    weights = weigh_classes(train) if options.class_weights else None
    progress = checkpointer.resume(model) if checkpointer else Progress()
    micro_steps = progress.cut_batches(micro_batches)
    for phase in _list_phases(model, train, val, options, seed):
        if _is_over(phase, progress, options.patience):
            continue
        if progress.phase != phase.name:
            progress.enter_phase(phase.name, model, options.keep == BEST)
        _compile(model, phase, progress, build_loss(options.loss, weights), micro_steps)
        while not _is_over(phase, progress, options.patience):
            if options.plateau:
                rate = reduce_on_plateau(phase.rate, progress.losses_of(phase.name))
                phase.data.network.optimizer.learning_rate = rate
            progress.finish_epoch(run_epoch(model, phase, progress, seed, checkpointer))
            if options.keep == BEST:
                progress.keep_best(model)
            after_epoch(progress.table())
            if checkpointer:
                checkpointer.safe_point(model, phase.data.network, progress)
        progress.take_best(model)
        if checkpointer:
            checkpointer.save_kept(model, progress)
    progress.take_best(model)
    return progress


def weigh_classes(train: Fold) -> list[float]:
    """Weigh classes by their inverse frequency: mean 1 over the images of a fold, 1 for a class that it lacks.

    For masks, the weights are square roots, because a lesion may fill only a thousandth of an image. Then their mean
    over the classes is 1.
    """
    if train.masks is None:
        counts = np.bincount(train.labels, minlength=train.classes).astype(float)
        present = counts > 0
        raw = np.where(present, counts.sum() / np.maximum(counts, 1) / present.sum(), 1.0)
        return raw.tolist()
    counts = np.zeros(train.classes)
    for position in train.positions:
        counts += np.bincount(train.masks[position].ravel(), minlength=train.classes)
    raw = np.where(counts > 0, np.sqrt(counts.sum() / np.maximum(counts, 1)), 1.0)
    return (raw / raw.mean()).tolist()


def _list_phases(model: keras.Model, train: Fold, val: Fold, options: Options, seed: int) -> Iterator[Phase]:
    """Yield the phases that the options ask for. The data of a phase are opened when it begins."""
    for planned in plan_phases(options):
        frozen = planned.name == "head" and has_backbone(model)
        keeps_features = frozen and planned.epochs and options.augmented_views != EVERY_EPOCH
        open_data = prepare_features if keeps_features else ImageData
        yield Phase(
            *planned,
            decay=options.decay,
            data=open_data(model, train, val, options, seed),
            steps=-(-len(train) // options.batch_size),
            refresh=options.refresh_batch_norm and not frozen,
        )


def _is_over(phase: Phase, progress: Progress, patience: int) -> bool:
    """Whether a phase has run all its epochs, or `patience` epochs without a better validation loss (0: no limit)."""
    done = len(progress.losses_of(phase.name))
    if done >= phase.epochs:
        return True
    waited = min(done, len(progress.history) - 1 - progress.best_epoch)
    if patience and waited >= patience:
        log.info("%s stops early: no better validation loss in %d epochs", phase.name, waited)
        return True
    return False


def _compile(model: keras.Model, phase: Phase, progress: Progress, loss: keras.Loss, micro_steps: int) -> None:
    """Compile for the current phase, with the saved optimizer if the phase was interrupted."""
    if has_backbone(model):
        model.get_layer("backbone").trainable = phase.name == "fine_tune"
    network = phase.data.network
    network.compile(
        optimizer=_build_optimizer(phase, progress.micro_batches),
        loss=loss,
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=False,
    )
    if progress.restored:
        network.optimizer.build(network.trainable_variables)
        restore_optimizer(network.optimizer, progress.restored["optimizer"], micro_steps)


def _build_optimizer(phase: Phase, micro_batches: int) -> keras.Optimizer:
    rate: float | keras.optimizers.schedules.LearningRateSchedule = phase.rate
    if phase.decay < 1:
        steps = phase.epochs * phase.steps
        rate = keras.optimizers.schedules.ExponentialDecay(phase.rate, steps, phase.decay)
    return keras.optimizers.Adam(rate, gradient_accumulation_steps=micro_batches if micro_batches > 1 else None)
