"""Keep track of a training, save its state and find it again, so that a killed run resumes bit for bit."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from covbench.schema import HISTORY_COLUMNS
from covbench.system.disk import show_bytes
from covbench.system.energy import EnergyMeter, Use
from covbench.system.gpu_leases import list_gpus
from covbench.system.signals import Interruption
from covbench.training.checkpoints import load_state, save_state
from covbench.training.frozen_features import has_backbone

log = logging.getLogger(__name__)

SAVE_SECONDS, LONGEST_SECONDS = 60, 15 * 60  # between two states: of a small and of a large training
SAVE_RATE = 25e6 / 60  # bytes per second of training, between those two pauses
SAVE_SHARE = 0.05  # at most this share of the time goes into saving
SAVED_FACTS = ("history", "phase", "batch", "fitted", "micro_batches", "restarts")


@dataclass
class Progress:
    """The progress of a training, down to the batch of the current epoch. Only its own methods change it.

    history: a row per finished epoch.
    best_weights: of the epoch with the lowest validation loss, without those that the current phase keeps frozen; empty
    if the last epoch is kept.
    phase: the current phase. batch: number of finished batches of the current epoch.
    fitted: training loss and accuracy of the current epoch, once all its batches are done.
    micro_batches: number of micro-batches per batch. restarts: how often the run was started again.
    seconds_before, energy_before: seconds and energy of the earlier processes until they last saved.
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
    energy_before: Use = field(default_factory=Use)
    epoch_started: float = 0.0
    restored: dict[str, list[np.ndarray]] = field(default_factory=dict)

    @classmethod
    def from_state(cls, arrays: Mapping[str, list[np.ndarray]], facts: Mapping[str, Any]) -> Progress:
        """Make the progress with which the next process resumes from a saved state."""
        kept = {name: facts[name] for name in (*SAVED_FACTS, "seconds_before")}
        kept["energy_before"] = Use(**facts["energy_before"])
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

    def enter_phase(self, name: str, model: keras.Model, keep_best: bool) -> None:
        """Begin a phase, with an optimizer of its own, from the kept weights.

        Args:
            name: of the phase.
            model: the whole model.
            keep_best: whether the kept weights are the best so far.
        """
        self.take_best(model)
        self.phase, self.restored = name, {}
        if keep_best and self.history:
            self.best_weights = _values(leave_out_frozen(model.weights, model, name))

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
            self.best_weights = _values(leave_out_frozen(model.weights, model, self.phase))

    def take_best(self, model: keras.Model) -> None:
        """Give the model its best weights; it keeps those of the last epoch if no others are kept."""
        if self.best_weights:
            assign_values(leave_out_frozen(model.weights, model, self.phase), self.best_weights)

    def drop_restored(self) -> None:
        """Forget the values from disk, once the network has them."""
        self.restored = {}


class Checkpointer:
    """Saves a training into `folder`: now and then while it runs, after each phase, and before it ends on SIGTERM."""

    def __init__(self, folder: Path, interruption: Interruption) -> None:
        self.folder, self.interruption = folder, interruption
        self._began, self._meter = time.monotonic(), EnergyMeter(list_gpus())
        self._next = math.nan  # the first state's size decides it
        self._bytes, self._seconds = 0, 0.0

    def worked(self) -> None:
        """Say that there is something to save."""
        self.interruption.unsaved = True

    def sum_energy(self, progress: Progress) -> Use:
        """Sum the energy of this process and of the earlier ones of the same training."""
        return progress.energy_before + self._meter.read()

    def safe_point(self, model: keras.Model, network: keras.Model, progress: Progress) -> None:
        """Save between two steps if a save is due, and leave if the process was told to stop.

        Args:
            model: the whole model.
            network: the part of it that is fitted.
            progress: of the training.

        Raises:
            SystemExit: The process was told to stop; the state is saved, the code is 75.
        """
        if math.isnan(self._next):
            changing = leave_out_frozen(model.variables, model, progress.phase)
            self._next = self._began + pause_after(_count_bytes([*changing, *network.optimizer.variables]))
        if self.interruption.requested or time.monotonic() >= self._next:
            self.save(model, network, progress)
        if self.interruption.requested:
            self.interruption.leave()

    def save(self, model: keras.Model, network: keras.Model, progress: Progress) -> None:
        """Write the state of a training inside a phase, without the weights that the phase keeps frozen.

        Args:
            model: the whole model.
            network: the part of it that is fitted. It has the optimizer and the metrics.
            progress: of the training.
        """
        if keras.backend.backend() == "jax":
            network.jax_state_sync()  # inside fit() JAX keeps the values out of the variables
        others = {
            "optimizer": _values(network.optimizer.variables),
            "metrics": _values(network.metrics_variables),
            "best": progress.best_weights,
        }
        self._write(model, progress, others)

    def save_kept(self, model: keras.Model, progress: Progress) -> None:
        """Write the state of a training between two phases, or after the last: the kept weights, a quarter of a state.

        The next phase has an optimizer of its own. Nothing is written if nothing was trained since the last state.

        Args:
            model: the whole model, with the weights that are kept.
            progress: of the training.
        """
        if self.interruption.unsaved:
            self._write(model, progress, {})
            minutes = (time.monotonic() - self._began) / 60
            log.info(
                "%s of checkpoints in %.1f minutes, written in %.1f s", show_bytes(self._bytes), minutes, self._seconds
            )

    def _write(self, model: keras.Model, progress: Progress, others: Mapping[str, Sequence[np.ndarray]]) -> None:
        started = time.monotonic()
        facts = {name: getattr(progress, name) for name in SAVED_FACTS}
        facts["epoch_seconds"] = started - progress.epoch_started
        facts["seconds_before"] = progress.seconds_before + started - self._began
        facts["energy_before"] = asdict(self.sum_energy(progress))
        variables = leave_out_frozen(model.variables, model, progress.phase)
        size = save_state(self.folder, {"model": _values(variables), **others}, facts).stat().st_size
        self.interruption.unsaved = False
        cost = time.monotonic() - started
        self._next = time.monotonic() + pause_after(size, cost)
        self._bytes, self._seconds = self._bytes + size, self._seconds + cost

    def resume(self, model: keras.Model) -> Progress:
        """Load the last saved state into `model`. Returns its progress, or a new one if there is no state.

        model: as it was built. What the state leaves out is as it was when the training began.
        """
        found = load_state(self.folder)
        if found is None:
            return Progress()
        arrays, facts = found
        assign_values(leave_out_frozen(model.variables, model, facts["phase"]), arrays["model"])
        progress = Progress.from_state(arrays, facts)
        log.info("resumes in epoch %d, %s, after %d batches", len(progress.history), progress.phase, progress.batch)
        return progress


def pause_after(size: int, cost: float = 0.0) -> float:
    """Return the seconds of training until the next state: a minute after a small one, a quarter of an hour at most.

    Only a disk on which saving takes more than a twentieth of this time makes it longer.

    Args:
        size: of a state, bytes.
        cost: seconds that saving it took; 0 if none was saved yet.

    Returns:
        The seconds from the end of saving to the next save.
    """
    return max(SAVE_SECONDS, min(size / SAVE_RATE, LONGEST_SECONDS), cost / SAVE_SHARE)


def leave_out_frozen(variables: Iterable[Any], model: keras.Model, phase: str) -> list[Any]:
    """Leave out the weights that a phase keeps frozen: those of a pretrained backbone while the head is trained.

    The generators of a frozen backbone stay, because they advance while the head is trained.

    Args:
        variables: Keras variables of the model.
        model: the whole model.
        phase: name of the phase.

    Returns:
        The others, in order.
    """
    frozen = model.get_layer("backbone").weights if phase == "head" and has_backbone(model) else []
    left_out = {id(weight) for weight in frozen}
    return [variable for variable in variables if id(variable) not in left_out]


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


def _count_bytes(variables: Iterable[Any]) -> int:
    return sum(4 * math.prod(variable.shape) for variable in variables)
