"""Where a training stands, and how it is saved and found again: a run that was killed goes on bit for bit."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
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

SAVE_SECONDS = 60  # what a kill may cost
SAVE_SHARE = 0.05  # of the time, at most, goes into saving


@dataclass
class Progress:
    """What a training has seen so far, and the place inside the epoch under way.

    history: a row per finished epoch. best_weights: of the epoch of lowest validation loss.
    phase: the phase under way. batch: batches of the epoch under way that are done.
    fitted: training loss and accuracy of the epoch under way, once all its batches are done.
    micro_batches: micro-batches that a batch is cut into. restarts: how often the run was started again.
    seconds_before: what the former ones needed until they last saved.
    epoch_started: on the clock of time.monotonic, less what processes before this one spent in the epoch.
    restored: optimizer and metric values from disk that the phase under way still has to take over.
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

    @property
    def best_epoch(self) -> int:
        """The first epoch of lowest validation loss; -1 before any."""
        return int(np.argmin([row["val_loss"] for row in self.history])) if self.history else -1

    def table(self) -> pd.DataFrame:
        """The learning curves, in the columns of schema.HISTORY_COLUMNS."""
        dtypes = {name: column.dtype for name, column in HISTORY_COLUMNS.items()}
        return pd.DataFrame(self.history, columns=list(HISTORY_COLUMNS)).astype(dtypes)


class Checkpointer:
    """Saves a training into `folder`: before it leaves on SIGTERM, and every `seconds` while it runs.

    Saving takes at most a twentieth of the time: where a state takes long to write, states are further apart.
    """

    def __init__(self, folder: Path, interruption: Interruption, seconds: float = SAVE_SECONDS) -> None:
        self.folder, self.interruption, self.seconds = folder, interruption, seconds
        self._began = time.monotonic()
        self._next = self._began + seconds

    def worked(self) -> None:
        """Say that there is something to save."""
        self.interruption.unsaved = True

    def safe_point(self, model: keras.Model, network: keras.Model, progress: Progress) -> None:
        """Between two steps: save if it is time, save and leave if that was asked for."""
        if self.interruption.requested or time.monotonic() >= self._next:
            self.save(model, network, progress)
        if self.interruption.requested:
            self.interruption.leave()

    def save(self, model: keras.Model, network: keras.Model, progress: Progress) -> None:
        """Write the state of `model`, optimizer and metrics of the `network` that is fitted, and the progress."""
        started = time.monotonic()
        if keras.backend.backend() == "jax":
            network.jax_state_sync()  # inside fit() JAX keeps the values out of the variables
        arrays = {
            "model": _values(model.variables),
            "optimizer": _values(network.optimizer.variables),
            "metrics": _values(network.metrics_variables),
            "best": progress.best_weights,
        }
        facts = {
            name: getattr(progress, name)
            for name in ("history", "phase", "batch", "fitted", "micro_batches", "restarts")
        }
        facts["epoch_seconds"] = started - progress.epoch_started
        facts["seconds_before"] = progress.seconds_before + started - self._began
        save_state(self.folder, arrays, facts)
        self.interruption.unsaved = False
        cost = time.monotonic() - started
        self._next = time.monotonic() + max(self.seconds, cost / SAVE_SHARE)

    def resume(self, model: keras.Model) -> Progress:
        """Put the last saved state into `model`; the progress that belongs to it, or a new one."""
        found = load_state(self.folder)
        if found is None:
            return Progress()
        arrays, facts = found
        elapsed = facts.pop("epoch_seconds")
        facts["restarts"] += 1
        assign_values(model.variables, arrays.pop("model"))
        progress = Progress(**facts, best_weights=arrays.pop("best", []), restored=arrays)
        progress.epoch_started = time.monotonic() - elapsed
        log.info("goes on in epoch %d, %s, after %d batches", len(progress.history), progress.phase, progress.batch)
        return progress


def restore_optimizer(optimizer: keras.Optimizer, values: Sequence[np.ndarray], micro_steps: int) -> None:
    """Put saved values into a built optimizer, also where it accumulates gradients and the saved one did not yet.

    micro_steps: how many steps of the optimizer stand for one of the saved one.
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
