"""Fit one model under one protocol: head first, then everything, the best epoch kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

import keras
import numpy as np
import pandas as pd

from covbench.data.augmentation import AUGMENTATIONS
from covbench.data.folds import Fold
from covbench.models.losses import build_loss
from covbench.protocols import EVERY_EPOCH, Options
from covbench.training.batches import Batches
from covbench.training.epoch import Phase, run_epoch
from covbench.training.frozen_features import FeatureBatches, FeatureStore, cut_classifier, has_backbone
from covbench.training.state import Checkpointer, Progress, restore_optimizer

log = logging.getLogger(__name__)


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
    checkpointer: Checkpointer | None = None,
    micro_batches: int = 1,
) -> Progress:
    """Fit `model` in position and leave it with the weights of the epoch of lowest validation loss.

    after_epoch receives the learning curves so far. checkpointer: saves the state, and finds the last one to go on
    from.
    micro_batches: micro-batches that each batch is cut into, their gradients accumulated: the effective batch stays.
    Raises CovbenchError when a loss is not a number.
    """
    weights = weigh_classes(train) if options.class_weights else None
    progress = checkpointer.resume(model) if checkpointer else Progress()
    micro_steps, progress.micro_batches = (
        max(1, micro_batches // progress.micro_batches),
        max(micro_batches, progress.micro_batches),
    )
    for phase in _list_phases(model, train, val, options, seed, progress.micro_batches):
        if _is_over(phase, progress, options.patience):
            continue
        _enter(model, phase, progress, options, weights, micro_steps)
        while not _is_over(phase, progress, options.patience):
            progress.history.append(run_epoch(model, phase, progress, seed, checkpointer))
            progress.batch, progress.fitted = 0, None
            if progress.best_epoch == len(progress.history) - 1:
                progress.best_weights = model.get_weights()
            after_epoch(progress.table())
            if checkpointer:
                checkpointer.safe_point(model, phase.network, progress)
        if checkpointer:
            checkpointer.save(model, phase.network, progress)
    _take_best_weights(model, progress)
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
    for position in train.positions:
        counts += np.bincount(train.masks[position].ravel(), minlength=train.classes)
    raw = np.where(counts > 0, np.sqrt(counts.sum() / np.maximum(counts, 1)), 1.0)
    return (raw / raw.mean()).tolist()


def _list_phases(
    model: keras.Model, train: Fold, val: Fold, options: Options, seed: int, micro_batches: int
) -> Iterator[Phase]:
    """The phases that the options ask for: the head on a frozen backbone, then everything."""
    for name, epochs, rate in (
        ("head", options.head_epochs, options.head_rate),
        ("fine_tune", options.fine_tune_epochs, options.fine_tune_rate),
    ):
        frozen = name == "head" and has_backbone(model)
        load_as = _load_features if frozen and epochs and options.augmented_views != EVERY_EPOCH else _load_images
        network, load, val_batches = load_as(model, train, val, options, seed)
        yield Phase(
            name=name,
            epochs=epochs,
            rate=rate,
            network=network,
            batches=partial(load, micro_batches=micro_batches),
            val_batches=val_batches,
            steps=-(-len(train) // options.batch_size),
            image_ids=partial(_name_images, load),
            refresh=options.refresh_batch_norm and not frozen,
        )


def _load_images(
    model: keras.Model, train: Fold, val: Fold, options: Options, seed: int
) -> tuple[keras.Model, Callable[..., Batches], Batches]:
    """The whole model, (epoch, first, micro_batches) -> its training batches, and its validation batches."""

    def load(epoch: int, first: int, micro_batches: int) -> Batches:
        augmentation = AUGMENTATIONS[options.augmentation]
        return Batches(
            train, options.batch_size, seed, epoch, augmentation, shuffle=True, first=first, micro_batches=micro_batches
        )

    return model, load, Batches(val, options.batch_size, seed)


def _load_features(
    model: keras.Model, train: Fold, val: Fold, options: Options, seed: int
) -> tuple[keras.Model, Callable[..., Batches], Batches]:
    """The head of a model whose backbone is frozen, and its batches: features of a few views of each image."""
    extractor, head = cut_classifier(model)
    store = FeatureStore(extractor, train.images)
    views = 1 if options.augmentation == "none" else int(options.augmented_views)

    def load(epoch: int, first: int, micro_batches: int) -> Batches:
        view = options.augmentation, epoch % views
        return FeatureBatches(
            store, view, train, options.batch_size, seed, epoch, shuffle=True, first=first, micro_batches=micro_batches
        )

    return head, load, FeatureBatches(store, ("none", 0), val, options.batch_size, seed)


def _name_images(load: Callable[..., Batches], epoch: int, batch: int) -> list[str]:
    batches = load(epoch, batch, micro_batches=1)
    return list(batches.fold.rows["image_id"].iloc[batches.chosen[0]])


def _is_over(phase: Phase, progress: Progress, patience: int) -> bool:
    """Whether a phase has had all its epochs, or `patience` of them without a better validation loss (0: no limit)."""
    done = sum(row["phase"] == phase.name for row in progress.history)
    if done >= phase.epochs:
        return True
    waited = min(done, len(progress.history) - 1 - progress.best_epoch)
    if patience and waited >= patience:
        log.info("%s stops early: no better validation loss in %d epochs", phase.name, waited)
        return True
    return False


def _enter(
    model: keras.Model,
    phase: Phase,
    progress: Progress,
    options: Options,
    class_weights: list[float] | None,
    micro_steps: int,
) -> None:
    """Compile for a phase: with the optimizer as it was saved inside it, or fresh from the best weights so far."""
    resumed = progress.phase == phase.name
    if not resumed:
        _take_best_weights(model, progress)
        progress.phase = phase.name
    if has_backbone(model):
        model.get_layer("backbone").trainable = phase.name == "fine_tune"
    steps = phase.epochs * phase.steps
    rate = keras.optimizers.schedules.ExponentialDecay(phase.rate, steps, options.decay) if options.decay < 1 else None
    phase.network.compile(
        optimizer=keras.optimizers.Adam(
            rate or phase.rate,
            gradient_accumulation_steps=progress.micro_batches if progress.micro_batches > 1 else None,
        ),
        loss=build_loss(options.loss, class_weights),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=False,
    )
    if resumed:
        phase.network.optimizer.build(phase.network.trainable_variables)
        restore_optimizer(phase.network.optimizer, progress.restored["optimizer"], micro_steps)


def _take_best_weights(model: keras.Model, progress: Progress) -> None:
    if progress.best_weights:
        model.set_weights(progress.best_weights)
