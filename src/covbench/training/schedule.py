"""The phases of a training, for forecasts too, so this module does not need TensorFlow."""

from __future__ import annotations

from typing import NamedTuple

from covbench.protocols import Options

REFRESH_BATCHES = 30  # enough images for stable statistics, but a fraction of an epoch on the large datasets


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
