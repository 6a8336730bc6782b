"""The phases that a training goes through, and how many batches renew batch norm; no TensorFlow, forecasts read it."""

from __future__ import annotations

from typing import NamedTuple

from covbench.protocols import Options

REFRESH_BATCHES = 30  # enough images for stable statistics, a fraction of an epoch on the large datasets


class PlannedPhase(NamedTuple):
    """A stretch of training under one optimizer: at most `epochs` epochs, the first step at `rate`."""

    name: str
    epochs: int
    rate: float


def plan_phases(options: Options) -> tuple[PlannedPhase, PlannedPhase]:
    """The head on a frozen backbone, then everything; a phase of 0 epochs is skipped."""
    return (
        PlannedPhase("head", options.head_epochs, options.head_rate),
        PlannedPhase("fine_tune", options.fine_tune_epochs, options.fine_tune_rate),
    )
