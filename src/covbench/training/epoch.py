"""Run one epoch of a training: fit, re-estimate batch-norm statistics, validate."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from covbench.models.batch_norm import refresh_batch_norm
from covbench.schema import CovbenchError
from covbench.training.phase_data import PhaseData, name_images
from covbench.training.schedule import REFRESH_BATCHES
from covbench.training.state import Checkpointer, Progress, assign_values

log = logging.getLogger(__name__)


class DivergedError(CovbenchError):
    """A loss became infinite or no number."""


LOG_SECONDS = 60  # between two lines of progress inside a long epoch


@dataclass(frozen=True)
class Phase:
    """A phase of a training, with one optimizer.

    epochs: the largest number of epochs. rate: learning rate of the first step; at the end of the phase, it is `decay`
    times this rate. steps: number of whole batches in an epoch. refresh: whether batch-norm statistics are re-estimated
    before validation.
    """

    name: str
    epochs: int
    rate: float
    decay: float
    data: PhaseData
    steps: int
    refresh: bool


def run_epoch(
    model: keras.Model, phase: Phase, progress: Progress, seed: int, checkpointer: Checkpointer | None
) -> dict[str, Any]:
    """Train and validate the current epoch, from the batch where it was interrupted.

    Args:
        model: the whole model, which is saved.
        phase: the current phase; its network is compiled.
        progress: of the training.
        seed: of the run.
        checkpointer: saves the state between two steps; None saves nothing.

    Returns:
        The epoch's row of the learning curves, in the columns of schema.HISTORY_COLUMNS.

    Raises:
        DivergedError: A loss is infinite or no number.
        SystemExit: The process was told to stop; the state is saved, the code is 75.
    """
    epoch, data = len(progress.history), phase.data
    watch = _Watch(model, phase, progress, epoch, checkpointer)
    if progress.batch == 0 and progress.fitted is None:
        progress.begin_epoch()
        reseed_layers(model, seed, epoch)
    if progress.fitted is None:
        progress.finish_batches(_fit(data, progress, epoch, watch))
        watch.safe_point()
    if phase.refresh:
        batches = data.train_batches(epoch, micro_batches=progress.micro_batches)
        refresh_batch_norm(data.network, (batches[i][0] for i in range(min(len(batches), REFRESH_BATCHES))))
    checked = data.network.evaluate(data.val_batches, verbose=0, return_dict=True, callbacks=[watch])
    if not np.isfinite(checked["loss"]):
        raise DivergedError(f"epoch {epoch}: the validation loss is {checked['loss']}; {_remedy(phase)}")
    row = {
        "epoch": epoch,
        "phase": phase.name,
        "learning_rate": learning_rate(data.network),
        **(progress.fitted or {}),
        "val_loss": checked["loss"],
        "val_accuracy": checked["accuracy"],
        "seconds": time.monotonic() - progress.epoch_started,
    }
    log.info("epoch %(epoch)d %(phase)s loss %(loss).4f val_loss %(val_loss).4f val_accuracy %(val_accuracy).3f", row)
    return row


def _fit(data: PhaseData, progress: Progress, epoch: int, watch: keras.callbacks.Callback) -> dict[str, float]:
    """Train on the rest of the epoch's batches. Returns the training loss and accuracy of the epoch."""
    network = data.network
    if progress.batch and progress.restored:
        network.evaluate(data.val_batches, steps=1, verbose=0)  # builds the metrics that are restored
    rest = data.train_batches(epoch, progress.batch * progress.micro_batches, progress.micro_batches)
    # shuffle: Keras would shuffle the batches again, with a global generator that a resumed process cannot repeat
    network.fit(rest, initial_epoch=epoch, epochs=epoch + 1, verbose=0, callbacks=[watch], shuffle=False)
    found = network.get_metrics_result()
    return {name: float(found[name]) for name in ("loss", "accuracy")}


def reseed_layers(model: keras.Model, seed: int, epoch: int) -> None:
    """Set the random generator of every layer that has one, such as dropout.

    Args:
        model: the whole model. The position of a layer in it also decides the layer's generator.
        seed: of the run.
        epoch: counted from 0 through all phases.
    """
    for position, layer in enumerate(model._flatten_layers()):
        if hasattr(layer, "seed_generator"):
            state = np.random.default_rng([seed, epoch, position]).integers(0, 2**31, 2)
            layer.seed_generator.state.assign(state.astype("uint32"))


def learning_rate(network: keras.Model, steps_ago: int = 0) -> float:
    """Return the learning rate of the network's next step, or of an earlier one."""
    optimizer = getattr(network.optimizer, "inner_optimizer", network.optimizer)
    rate = optimizer._learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        rate = rate(keras.ops.maximum(optimizer.iterations - steps_ago, 0))
    return float(keras.ops.convert_to_numpy(rate))


def _remedy(phase: Phase) -> str:
    return f"no model is published. Lower {phase.name}_rate under `options` in the config."


class _Watch(keras.callbacks.Callback):
    """Counts batches, stops at a loss that is not a number, and lets the checkpointer save between two steps."""

    def __init__(
        self, model: keras.Model, phase: Phase, progress: Progress, epoch: int, checkpointer: Checkpointer | None
    ) -> None:
        super().__init__()
        self.whole, self.network, self.phase, self.progress = model, phase.data.network, phase, progress
        self.epoch, self.checkpointer = epoch, checkpointer
        self.next_line = time.monotonic() + LOG_SECONDS

    def safe_point(self) -> None:
        if self.checkpointer:
            self.checkpointer.safe_point(self.whole, self.network, self.progress)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self.progress.restored and self.progress.batch:
            assign_values(self.network.metrics_variables, self.progress.restored["metrics"])
        self.progress.drop_restored()  # fit() has just reset the metrics

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        loss = float((logs or {})["loss"])
        if not np.isfinite(loss):
            self._refuse(loss)
        if (batch + 1) % self.progress.micro_batches:
            return
        self.progress.finish_batch()
        if self.checkpointer:
            self.checkpointer.worked()
        self._log_loss(loss)
        if self.progress.batch < self.phase.steps:
            self.safe_point()

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.safe_point()

    def _log_loss(self, loss: float) -> None:
        if time.monotonic() >= self.next_line:
            log.info("epoch %d: batch %d of %d, loss %.4f", self.epoch, self.progress.batch, self.phase.steps, loss)
            self.next_line = time.monotonic() + LOG_SECONDS

    def _refuse(self, loss: float) -> None:
        names = name_images(self.phase.data, self.epoch, self.progress.batch)
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        raise DivergedError(
            f"epoch {self.epoch}, batch {self.progress.batch} of {self.phase.steps}: the training loss is {loss} at "
            f"rate {learning_rate(self.network, steps_ago=1):.2e} on {shown}; {_remedy(self.phase)}"
        )
