"""The phases of a training, for forecasts too, so this module does not need TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from covbench.protocols import Options

REFRESH_BATCHES = 30
"""Largest number of training batches from which batch-norm statistics are re-estimated, others in each epoch. A batch
costs 0.30-0.43 of a training step: all of them would lengthen every epoch by that share, 30 of 281 by a thirtieth.
"""


PLATEAU_FACTOR, PLATEAU_PATIENCE, PLATEAU_DELTA = 0.1, 10, 1e-4  # defaults of Keras's ReduceLROnPlateau


class PlannedPhase(NamedTuple):
    """A phase of a training, with one optimizer: at most `epochs` epochs, with the first step at the rate `rate`."""

    name: str
    epochs: int
    rate: float


def plan_phases(options: Options) -> tuple[PlannedPhase, PlannedPhase]:
    """Plan the two phases: the head on a frozen backbone, then everything. A phase of 0 epochs is skipped."""
    return (
        PlannedPhase("head", options.head_epochs, options.head_rate),
        PlannedPhase("fine_tune", options.fine_tune_epochs, options.fine_tune_rate),
    )


def reduce_on_plateau(rate: float, losses: Sequence[float]) -> float:
    """Return the rate of the next epoch, as Keras's ReduceLROnPlateau with its defaults would set it.

    The validation losses alone decide it, so a resumed training needs no other state.

    Args:
        rate: of the first epoch of the phase.
        losses: validation losses of the phase's finished epochs, in order.

    Returns:
        The rate, rounded to float32 after each reduction, as Keras stores it.
    """
    best, waited, current = np.inf, 0, np.float32(rate)
    for loss in losses:
        waited += 1
        if loss < best - PLATEAU_DELTA:
            best, waited = loss, 0
        elif waited >= PLATEAU_PATIENCE:
            current, waited = np.float32(float(current) * PLATEAU_FACTOR), 0
    return float(current)
