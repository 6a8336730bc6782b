"""One epoch of a training: fit, renew batch-norm statistics, validate; watched step by step."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from covbench.models.batch_norm import refresh_batch_norm
from covbench.schema import CovbenchError
from covbench.training.state import Checkpointer, Progress, assign_values

log = logging.getLogger(__name__)

REFRESH_BATCHES = 30  # enough images for stable statistics, a fraction of an epoch on the large datasets
TELL_SECONDS = 60  # between two lines of progress inside a long epoch


@dataclass(frozen=True)
class Phase:
    """A stretch of training under one optimizer.

    network: what fit() sees: the whole model, or a part of it that shares its layers.
    batches: (epoch, micro-batches to leave out) -> what is left of the epoch's training batches.
    steps: whole batches in an epoch. image_ids: (epoch, batch) -> the images of a batch, to name a faulty one.
    refresh: whether batch-norm statistics are re-estimated before validating.
    """

    name: str
    epochs: int
    rate: float
    network: keras.Model
    batches: Callable[[int, int], keras.utils.PyDataset]
    val_batches: keras.utils.PyDataset
    steps: int
    image_ids: Callable[[int, int], Sequence[str]]
    refresh: bool


def run_epoch(
    model: keras.Model, phase: Phase, progress: Progress, seed: int, checkpointer: Checkpointer | None
) -> dict[str, Any]:
    """Train and validate the epoch under way, from the batch on where it stands; its row of the learning curves.

    Raises CovbenchError when a loss is not a number, SystemExit (75) after saving when the process is to stop.
    """
    epoch = len(progress.history)
    watch = _Watch(model, phase, progress, epoch, checkpointer)
    if progress.batch == 0 and progress.fitted is None:
        progress.epoch_started = time.monotonic()
        keras.utils.set_random_seed(seed + epoch)
        reseed_layers(model, seed, epoch)
    if progress.fitted is None:
        progress.fitted = _fit(phase, progress, epoch, watch)
        watch.safe_point()
    if phase.refresh:
        batches = phase.batches(epoch, 0)
        refresh_batch_norm(phase.network, (batches[i][0] for i in range(min(len(batches), REFRESH_BATCHES))))
    checked = phase.network.evaluate(phase.val_batches, verbose=0, return_dict=True, callbacks=[watch])
    if not np.isfinite(checked["loss"]):
        raise CovbenchError(f"epoch {epoch}: the validation loss is {checked['loss']}; {_remedy(phase)}")
    row = {
        "epoch": epoch,
        "phase": phase.name,
        "learning_rate": learning_rate(phase.network),
        "loss": progress.fitted["loss"],
        "accuracy": progress.fitted["accuracy"],
        "val_loss": checked["loss"],
        "val_accuracy": checked["accuracy"],
        "seconds": time.monotonic() - progress.epoch_started,
    }
    log.info("epoch %(epoch)d %(phase)s loss %(loss).4f val_loss %(val_loss).4f val_accuracy %(val_accuracy).3f", row)
    return row


def _fit(phase: Phase, progress: Progress, epoch: int, watch: keras.callbacks.Callback) -> dict[str, float]:
    if progress.batch and progress.restored:
        phase.network.evaluate(phase.val_batches, steps=1, verbose=0)  # makes the metrics that are to be restored
    rest = phase.batches(epoch, progress.batch * progress.micro_batches)
    # shuffle: Keras would shuffle the batches once more, by a global generator that no resumed process could follow
    phase.network.fit(rest, initial_epoch=epoch, epochs=epoch + 1, verbose=0, callbacks=[watch], shuffle=False)
    return {name: float(value) for name, value in phase.network.get_metrics_result().items()}


def reseed_layers(model: keras.Model, seed: int, epoch: int) -> None:
    """Set the state of every layer's random generator (dropout) from (seed, epoch, its position in the model)."""
    for position, layer in enumerate(model._flatten_layers()):
        if hasattr(layer, "seed_generator"):
            state = np.random.default_rng([seed, epoch, position]).integers(0, 2**31, 2)
            layer.seed_generator.state.assign(state.astype("uint32"))


def learning_rate(network: keras.Model, steps_ago: int = 0) -> float:
    """The rate of the network's next step, or of one before it."""
    optimizer = getattr(network.optimizer, "inner_optimizer", network.optimizer)
    rate = optimizer._learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        rate = rate(keras.ops.maximum(optimizer.iterations - steps_ago, 0))
    return float(keras.ops.convert_to_numpy(rate))


def _remedy(phase: Phase) -> str:
    return f"no model is published. Lower {phase.name}_rate under `options` in the config."


class _Watch(keras.callbacks.Callback):
    """Counts batches, stops at a loss that is no number, and lets the checkpointer save between two steps."""

    def __init__(
        self, model: keras.Model, phase: Phase, progress: Progress, epoch: int, checkpointer: Checkpointer | None
    ) -> None:
        super().__init__()
        self.whole, self.phase, self.progress, self.epoch, self.checkpointer = (
            model,
            phase,
            progress,
            epoch,
            checkpointer,
        )
        self.next_word = time.monotonic() + TELL_SECONDS

    def safe_point(self) -> None:
        if self.checkpointer:
            self.checkpointer.safe_point(self.whole, self.phase.network, self.progress)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self.progress.restored and self.progress.batch:
            assign_values(self.phase.network.metrics_variables, self.progress.restored["metrics"])
        self.progress.restored = {}  # fit() has reset the metrics just before

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        loss = float((logs or {})["loss"])
        if not np.isfinite(loss):
            self._refuse(loss)
        if (batch + 1) % self.progress.micro_batches:
            return
        self.progress.batch += 1
        if self.checkpointer:
            self.checkpointer.worked()
        self._tell(loss)
        if self.progress.batch < self.phase.steps:
            self.safe_point()

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.safe_point()

    def _tell(self, loss: float) -> None:
        if time.monotonic() >= self.next_word:
            log.info("epoch %d: batch %d of %d, loss %.4f", self.epoch, self.progress.batch, self.phase.steps, loss)
            self.next_word = time.monotonic() + TELL_SECONDS

    def _refuse(self, loss: float) -> None:
        names = self.phase.image_ids(self.epoch, self.progress.batch)
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        raise CovbenchError(
            f"epoch {self.epoch}, batch {self.progress.batch} of {self.phase.steps}: the training loss is {loss} at "
            f"rate {learning_rate(self.phase.network, steps_ago=1):.2e} on {shown}; {_remedy(self.phase)}"
        )
