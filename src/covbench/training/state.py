"""Keep track of a training, save its state and find it again, so that a killed run resumes bit for bit."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from covbench.schema import HISTORY_COLUMNS
from covbench.system.signals import Interruption
from covbench.training.checkpoints import load_state, save_state

log = logging.getLogger(__name__)

SAVE_SECONDS = 60  # a kill loses at most this much training
SAVE_SHARE = 0.05  # at most this share of the time goes into saving
SAVED_FACTS = ("history", "phase", "batch", "fitted", "micro_batches", "restarts")


@dataclass
class Progress:
    """The progress of a training, down to the batch of the current epoch. Only its own methods change it.

    history: a row per finished epoch. best_weights: of the epoch with the lowest validation loss; empty if the last
    epoch is kept.
    phase: the current phase. batch: number of finished batches of the current epoch.
    fitted: training loss and accuracy of the current epoch, once all its batches are done.
    micro_batches: number of micro-batches per batch. restarts: how often the run was started again.
    seconds_before: seconds of the earlier processes until they last saved.
    epoch_started: in seconds of time.monotonic, minus the seconds that earlier processes spent in the epoch.
    restored: optimizer and metric values from disk that the current phase has not yet used.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    best_weights: list[np.ndarray] = field(default_factory=list)
    phase: str = ""
    batch: int = 0
    fitted: dict[str, float] | None = None
    micro_batches: int = 1
    restarts: int = 0
    seconds_before: float = 0.0
    epoch_started: float = 0.0
    restored: dict[str, list[np.ndarray]] = field(default_factory=dict)

    @classmethod
    def from_state(cls, arrays: Mapping[str, list[np.ndarray]], facts: Mapping[str, Any]) -> Progress:
        """Make the progress with which the next process resumes from a saved state."""
        kept = {name: facts[name] for name in (*SAVED_FACTS, "seconds_before")}
        restored = {name: values for name, values in arrays.items() if name not in ("model", "best")}
        progress = cls(**kept, best_weights=arrays.get("best", []), restored=restored)
        progress.restarts += 1
        progress.epoch_started = time.monotonic() - facts["epoch_seconds"]
        return progress

    @property
    def best_epoch(self) -> int:
        """The first epoch with the lowest validation loss; -1 before the first epoch ends."""
        return int(np.argmin([row["val_loss"] for row in self.history])) if self.history else -1

    def losses_of(self, phase: str) -> list[float]:
        """List the validation losses of the finished epochs of a phase."""
        return [row["val_loss"] for row in self.history if row["phase"] == phase]

    def table(self) -> pd.DataFrame:
        """The learning curves, in the columns of schema.HISTORY_COLUMNS."""
        dtypes = {name: column.dtype for name, column in HISTORY_COLUMNS.items()}
        return pd.DataFrame(self.history, columns=list(HISTORY_COLUMNS)).astype(dtypes)

    def cut_batches(self, micro_batches: int) -> int:
        """Cut batches into at least `micro_batches`. Returns how many optimizer steps now replace one saved step."""
        before = self.micro_batches
        self.micro_batches = max(micro_batches, before)
        return max(1, micro_batches // before)

    def enter_phase(self, name: str) -> None:
        """Begin a phase."""
        self.phase = name

    def begin_epoch(self) -> None:
        """Start the clock of an epoch."""
        self.epoch_started = time.monotonic()

    def finish_batch(self) -> None:
        """Count a whole batch of the current epoch."""
        self.batch += 1

    def finish_batches(self, fitted: dict[str, float]) -> None:
        """Keep training loss and accuracy once all batches of the current epoch are done."""
        self.fitted = fitted

    def finish_epoch(self, row: dict[str, Any]) -> None:
        """Add an epoch to the learning curves."""
        self.history.append(row)
        self.batch, self.fitted = 0, None

    def keep_best(self, model: keras.Model) -> None:
        """Keep the model's weights if the last epoch is the best so far."""
        if self.best_epoch == len(self.history) - 1:
            self.best_weights = model.get_weights()

    def drop_restored(self) -> None:
        """Forget the values from disk, once the network has them."""
        self.restored = {}


class Checkpointer:
    """Saves a training into `folder`: every `seconds` while it runs, and before it ends on SIGTERM.

    Saving takes at most a twentieth of the time. If a state takes long to write, the next one is written later.
    """

    def __init__(self, folder: Path, interruption: Interruption, seconds: float = SAVE_SECONDS) -> None:
        self.folder, self.interruption, self.seconds = folder, interruption, seconds
        self._began = time.monotonic()
        self._next = self._began + seconds

    def worked(self) -> None:
        """Say that there is something to save."""
        self.interruption.unsaved = True

    def safe_point(self, model: keras.Model, network: keras.Model, progress: Progress) -> None:
        """Save between two steps if a save is due, and leave if the process was told to stop.

        Args:
            model: the whole model.
            network: the part of it that is fitted.
            progress: of the training.

        Raises:
            SystemExit: The process was told to stop; the state is saved, the code is 75.
        """
        if self.interruption.requested or time.monotonic() >= self._next:
            self.save(model, network, progress)
        if self.interruption.requested:
            self.interruption.leave()

    def save(self, model: keras.Model, network: keras.Model, progress: Progress) -> None:
        """Write the state of a training.

        Args:
            model: the whole model.
            network: the part of it that is fitted. It has the optimizer and the metrics.
            progress: of the training.
        """
        started = time.monotonic()
        if keras.backend.backend() == "jax":
            network.jax_state_sync()  # inside fit() JAX keeps the values out of the variables
        arrays = {
            "model": _values(model.variables),
            "optimizer": _values(network.optimizer.variables),
            "metrics": _values(network.metrics_variables),
            "best": progress.best_weights,
        }
        facts = {name: getattr(progress, name) for name in SAVED_FACTS}
        facts["epoch_seconds"] = started - progress.epoch_started
        facts["seconds_before"] = progress.seconds_before + started - self._began
        save_state(self.folder, arrays, facts)
        self.interruption.unsaved = False
        cost = time.monotonic() - started
        self._next = time.monotonic() + max(self.seconds, cost / SAVE_SHARE)

    def resume(self, model: keras.Model) -> Progress:
        """Load the last saved state into `model`. Returns its progress, or a new one if there is no state."""
        found = load_state(self.folder)
        if found is None:
            return Progress()
        arrays, facts = found
        assign_values(model.variables, arrays["model"])
        progress = Progress.from_state(arrays, facts)
        log.info("resumes in epoch %d, %s, after %d batches", len(progress.history), progress.phase, progress.batch)
        return progress


def restore_optimizer(optimizer: keras.Optimizer, values: Sequence[np.ndarray], micro_steps: int) -> None:
    """Load saved values into a built optimizer, even if it accumulates gradients and the saved one did not.

    Args:
        optimizer: built for the same variables as the saved one.
        values: values of the saved optimizer's variables, in their order.
        micro_steps: how many steps of `optimizer` replace one step of the saved one.
    """
    variables = optimizer.variables
    if len(variables) != len(values):
        variables = [variable for variable in variables if "gradient_accumulator" not in variable.path]
    assign_values(variables, values)
    for variable in variables:
        if variable.name == "iteration":
            variable.assign(variable * micro_steps)


def assign_values(variables: Sequence[Any], values: Sequence[np.ndarray]) -> None:
    """Assign arrays to as many Keras variables, in order."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _values(variables: Sequence[Any]) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable.value) for variable in variables]
