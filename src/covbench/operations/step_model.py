"""Estimate the steps of networks that were not timed, from those that were.

Seconds per step = a x multiply-adds + b x bytes + c x layers + d x trained numbers. Non-negative least squares on
relative errors finds the four rates of a machine. Setup and memory are fitted in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from covbench.operations.network_work import BYTES, STEPS, SettingWork, count_setting

Timing = Mapping[str, float]
Kept = Mapping[str, Any]  # {"setting": step_timings.describe_setting, "timing": time_steps.Timing}

FEWEST = 3  # timed networks from which others are estimated


@dataclass(frozen=True)
class StepModel:
    """The rates of a machine. Each array is float64.

    steps: (4,), seconds per multiply-add, byte, layer and trained number. setup: (2,), seconds of each network, and per
    traced layer. memory, gpu: (3,), MB of each process, per MB of a batch's activations, and per MB of parameters.
    """

    steps: np.ndarray
    setup: np.ndarray
    memory: np.ndarray
    gpu: np.ndarray

    def estimate(self, work: SettingWork) -> dict[str, float]:
        """Estimate a Timing, with the keys of time_steps.Timing."""
        seconds = {name: float(self.steps @ np.array(getattr(work, name))) for name in STEPS}
        size = _describe_size(work)
        return seconds | {
            "setup": float(self.setup @ [1, work.passes]),
            "memory_mb": float(self.memory @ size),
            "gpu_mb": float(self.gpu @ size),
            "parameters": work.parameters,
        }


def fit_model(kept: Sequence[Kept]) -> StepModel | None:
    """Fit the rates to timings of one machine. Returns None for fewer than FEWEST networks of the table."""
    counted = [(entry, work) for entry in kept if (work := count_setting(entry["setting"]))]
    if len({entry["setting"]["architecture"] for entry, _ in counted}) < FEWEST:
        return None
    timed = [(work, entry["timing"]) for entry, work in counted]
    steps = [(getattr(work, name), timing[name]) for work, timing in timed for name in STEPS]
    sizes = [(_describe_size(work), timing) for work, timing in timed]
    return StepModel(
        steps=_fit(steps),
        setup=_fit([((1, work.passes), timing["setup"]) for work, timing in timed]),
        memory=_fit([(size, timing["memory_mb"]) for size, timing in sizes]),
        gpu=_fit([(size, timing["gpu_mb"]) for size, timing in sizes]),
    )


def _describe_size(work: SettingWork) -> tuple[float, float, float]:
    return 1, work.activations / 2**20, work.parameters * BYTES / 2**20


def _fit(equations: Sequence[tuple[Sequence[float], float]]) -> np.ndarray:
    """Find non-negative rates so that the sum of amounts x rates is close to each measured value, relative to it."""
    rows = np.array([[amount / value for amount in amounts] for amounts, value in equations if value > 0])
    if not len(rows):
        return np.zeros(len(equations[0][0]))
    scale = rows.max(axis=0) + (rows.max(axis=0) == 0)  # amounts differ by ten powers of ten
    return nnls(rows / scale, np.ones(len(rows)))[0] / scale


def leave_one_out(kept: Sequence[Kept]) -> dict[str, float]:
    """Estimate each timed network from all others.

    Args:
        kept: Timings of one machine.

    Returns:
        Estimated over measured seconds of the longest step, by network, geometric mean over its settings. Empty for
        fewer than FEWEST + 1 networks of the table.
    """
    quotients: dict[str, list[float]] = {}
    for entry in kept:
        name, work = entry["setting"]["architecture"], count_setting(entry["setting"])
        model = fit_model([other for other in kept if other["setting"]["architecture"] != name])
        if work and model:
            estimate = model.estimate(work)
            quotients.setdefault(name, []).append(
                max(estimate[step] for step in STEPS) / max(entry["timing"][step] for step in STEPS)
            )
    return {name: math.prod(values) ** (1 / len(values)) for name, values in quotients.items()}


def describe_error(quotients: Mapping[str, float]) -> str:
    """Say within what factor most estimates were: that of the fourth fifth of networks, and the worst one."""
    factors = sorted((max(value, 1 / value), name) for name, value in quotients.items())
    most = math.ceil(0.8 * len(factors))
    factor, (worst, name) = factors[most - 1][0], factors[-1]
    return f"within a factor of {factor:.1f} for {most} of {len(factors)} networks; {name}: {worst:.1f}"
