"""What `search` in the config means: the factors by which the trials of a network multiply its learning rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from covbench.protocols import Options


def list_options(own: Options, trials: int, limits: Sequence[float], seed: int) -> list[Options]:
    """List the options of the trials of a run: first its own, then its own with other rates.

    Args:
        own: of the run, as its protocol and the config have them.
        trials: how many.
        limits: smallest and largest factor by which a trial multiplies the rates of both phases.
        seed: of the run.

    Returns:
        The options. More trials leave those of the first ones as they are.
    """
    return [own, *(scale_rates(own, factor) for factor in draw_factors(trials - 1, limits, seed))]


def draw_factors(number: int, limits: Sequence[float], seed: int) -> list[float]:
    """Draw factors log-uniformly: the same for every network, others for each seed.

    Args:
        number: how many.
        limits: smallest and largest factor.
        seed: of the run.

    Returns:
        The factors.
    """
    low, high = (math.log(limit) for limit in limits)
    return [math.exp(exponent) for exponent in np.random.default_rng(seed).uniform(low, high, number)]


def scale_rates(options: Options, factor: float) -> Options:
    """Multiply the rates of both phases by a factor, so that their ratio stays that of the protocol.

    They are rounded to three digits, because the last digits of a logarithm differ between machines.
    """
    head, fine_tune = (float(f"{rate * factor:.3g}") for rate in (options.head_rate, options.fine_tune_rate))
    return replace(options, head_rate=head, fine_tune_rate=fine_tune)


def choose_trial(losses: Sequence[float | None]) -> int:
    """Choose the trial with the lowest validation loss, the earlier of two equal ones.

    losses: of the trials, in order; None where the loss became infinite or no number. If all did, the choice is the
    first trial: its run then fails with the words that a run without a search fails with.
    """
    return int(np.argmin([math.inf if loss is None else loss for loss in losses]))
