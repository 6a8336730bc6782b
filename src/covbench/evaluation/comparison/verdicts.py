"""Judge whether a value of the study can be repeated: the interval of the difference between our mean and its value.

The study trained one network and scored it on one test set, so its value would differ in a perfect replication: by its
test images, by its training and by its rounding. docs/explanation/statistics.md has the simulations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from covbench.evaluation.comparison.intervals import FEWEST_SEEDS, SIGNIFICANT, say_too_few
from covbench.protocols import PUBLISHED

NOTICED = 0.5
"""Seeds whose variance passes this share of what their test images explain may have noise of training."""
UNNOTICED = 0.1
"""Two-sided share beyond the quantile of other seeds. The wide intervals of the first case make up for it."""
MATCHES, DIFFERS, UNTESTABLE = VERDICTS = ("matches", "differs", "untestable")


@dataclass(frozen=True)
class Reported:
    """A value of the study. step: distance between two values of its precision. images: in its test set."""

    value: float
    step: float
    images: int


@dataclass(frozen=True)
class Verdict:
    """Whether our mean and a value of the study differ, with the 95 % interval of the difference (ours minus theirs).

    name: one of VERDICTS. why: its reason in words. difference, low, high: None where there is none.
    """

    name: str
    why: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None


def judge(reported: Reported, ours: Mapping[Any, Any], images: float, obstacle: str = "") -> Verdict:
    """Judge a value of the study by our mean under `published`.

    Args:
        reported: the value.
        ours: a row of the table `summary`; empty if no run has finished.
        images: in our test fold, mean over seeds.
        obstacle: why the value has no true counterpart of ours; empty if it has one.

    Returns:
        The verdict. With an obstacle it is `untestable`, and the difference is that of the nearest comparison.
    """
    if not ours:
        return Verdict(UNTESTABLE, obstacle or f"no finished run under {PUBLISHED}")
    if pd.isna(ours["mean"]):
        return Verdict(UNTESTABLE, obstacle or "our metric is undefined on this test fold")
    difference = float(ours["mean"] - reported.value)
    missing = _find_missing(ours)
    if missing:
        return Verdict(UNTESTABLE, obstacle or missing, difference)
    reach = measure_reach(reported, ours, images)
    low, high = difference - reach, difference + reach
    if obstacle:
        return Verdict(UNTESTABLE, obstacle, difference, low, high)
    if low <= 0 <= high:
        return Verdict(MATCHES, "the 95 % interval of the difference holds 0", difference, low, high)
    side = "above" if difference > 0 else "below"
    return Verdict(DIFFERS, f"ours is {side} the study's value by more than chance explains", difference, low, high)


def _find_missing(ours: Mapping[Any, Any]) -> str:
    """Say what of our error is not known; empty if all is."""
    if pd.isna(ours["se"]):
        return "our value has no interval"
    if ours["seeds"] < FEWEST_SEEDS:
        return f"{say_too_few(int(ours['seeds']))} to measure the noise of training"
    return ""


def measure_reach(reported: Reported, ours: Mapping[Any, Any], images: float) -> float:
    """Measure half the length of the 95 % interval of the difference between our mean and a value of the study.

    The variance is that of our mean (test images and training), that of the study's test images, that of its training,
    and that of a number that is rounded. The part that the spread of the seeds measures has a quantile of its own
    (Graybill and Wang 1980): that of their few degrees of freedom, if they vary enough to show any noise of training.

    Args:
        reported: the value.
        ours: a row of the table `summary` with at least FEWEST_SEEDS seeds.
        images: in our test fold, mean over seeds.

    Returns:
        The half length.
    """
    seeds = ours["seeds"]
    training = 0.0 if pd.isna(ours["training_sd"]) else ours["training_sd"] ** 2
    mean = ours["se"] ** 2 - training / seeds
    single, study = _measure_images(reported, ours, mean, images)
    explained = max(single - mean, 0.0) * seeds / (seeds - 1)
    total = mean + study + reported.step**2 / 12 + training * (1 + 1 / seeds)
    spread = min((explained + training) * (1 + 1 / seeds), total)
    noticed = ours["sd"] ** 2 > NOTICED * explained
    by_seeds = special.stdtrit(seeds - 1, 1 - SIGNIFICANT / 2) if noticed else special.ndtri(1 - UNNOTICED / 2)
    by_images = special.stdtrit(ours["groups"] - 1, 1 - SIGNIFICANT / 2)
    return float(np.sqrt(by_images**2 * (total - spread) + by_seeds**2 * spread))


def _measure_images(reported: Reported, ours: Mapping[Any, Any], mean: float, images: float) -> tuple[float, float]:
    """Measure the variance over test images of one of our runs and of the study's run.

    If ours made no error, the study's is that of a share of its images (binomial).
    """
    if pd.isna(ours["run_se"]):
        return mean, reported.value * (1 - reported.value) / reported.images
    return ours["run_se"] ** 2, ours["run_se"] ** 2 * images / reported.images
