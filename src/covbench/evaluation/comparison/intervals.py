"""Standard errors and 95 % intervals of scores and of differences: patients from bootstrap draws, training from seeds.

A mean over S trainings varies for two reasons: its test images show other patients, and the networks would be trained
anew. The bootstrap draws measure the first variance, V, whatever overlap the test folds of the seeds have. The variance
between the seeds' scores measures the second one, together with what patients alone explain of it.
docs/explanation/statistics.md has the simulations behind each choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import special

LEVEL = 0.95
DEFINED = 0.9
STILL = 1e-6
"""Sums of draws are in float32, so that draws closer than this are the same."""
FEWEST_SEEDS = 3
"""With two seeds, the noise of training has one degree of freedom: an interval 6 times as wide as one over patients."""
FEWEST_GROUPS = 6
"""Intervals of fewer groups cover less than 93 % or more than 97 % in simulated studies."""

BOTH, PATIENTS = "patients and training", "patients"


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, or a difference of two, with its error.

    se: standard error, NaN where there is none. df: its degrees of freedom; the t quantile of these gives the interval.
    low, high: the 95 % interval, NaN where there is none. run_se: standard error of a single run over patients.
    training_sd: standard deviation of a score over trainings alone, NaN with fewer than FEWEST_SEEDS seeds.
    covers: BOTH, PATIENTS or empty without interval. reason: why there is no interval, or what it is where it is exact.
    """

    value: float
    groups: int
    se: float = np.nan
    df: float = np.nan
    low: float = np.nan
    high: float = np.nan
    run_se: float = np.nan
    training_sd: float = np.nan
    covers: str = ""
    reason: str = ""

    @property
    def p(self) -> float:
        """The two-sided p-value of a value of 0: below .05 exactly where a symmetric interval excludes 0."""
        return float(2 * special.stdtr(self.df, -abs(self.value) / self.se)) if self.se > 0 else np.nan


def estimate_score(values: np.ndarray, draws: np.ndarray, groups: int, rate: bool = False) -> Estimate:
    """Estimate a score with an interval that stays between 0 and 1 if the draws do (t interval of its logit).

    Args:
        values: float64, (S,), the score of each training.
        draws: float, (S, B), the same in each bootstrap draw of groups.
        groups: number of groups that the score rests on.
        rate: whether the score counts images. Without any error, or with nothing else, its interval is exact.

    Returns:
        The estimate of the mean.
    """
    found = _measure(values, draws, groups)
    if rate and groups and found.value in (0, 1):
        return _bound_exactly(found)
    if np.isnan(found.se):
        return found
    reach = float(special.stdtrit(found.df, (1 + LEVEL) / 2)) * found.se
    if 0 < found.value < 1 and np.nanmin(draws) >= 0 and np.nanmax(draws) <= 1:
        middle = special.logit(found.value)
        reach /= found.value * (1 - found.value)
        low, high = (float(special.expit(middle + side * reach)) for side in (-1, 1))
    else:
        low, high = found.value - reach, found.value + reach
    return replace(found, low=low, high=high)


def estimate_difference(values: np.ndarray, draws: np.ndarray, groups: int) -> Estimate:
    """Estimate a difference of two scores, with a symmetric t interval that agrees with its p-value.

    Args:
        values: float64, (S,), the difference in each training.
        draws: float, (S, B), the same in each bootstrap draw of groups.
        groups: number of groups that the difference rests on.

    Returns:
        The estimate of the mean difference.
    """
    found = _measure(values, draws, groups)
    reach = float(special.stdtrit(found.df, (1 + LEVEL) / 2)) * found.se
    return replace(found, low=found.value - reach, high=found.value + reach)


def explain_scope(found: Estimate, seeds: int) -> str:
    """Say why there is no interval, or why it covers patients alone; empty if it covers training too."""
    if found.reason or found.covers == BOTH:
        return found.reason
    few = "1 seed is" if seeds == 1 else f"{seeds} seeds are"
    return f"{few} too few to measure the noise of training: this speaks of the trained models, not of architectures"


def _measure(values: np.ndarray, draws: np.ndarray, groups: int) -> Estimate:
    """Measure the error of a mean over seeds, without an interval yet."""
    found = Estimate(float(np.mean(values)), groups)
    defined = draws[:, ~np.isnan(draws).any(axis=0)].astype(np.float64)
    if groups < FEWEST_GROUPS:
        return replace(found, reason=f"no interval: {groups} groups of images, at least {FEWEST_GROUPS} are needed")
    if defined.shape[1] <= DEFINED * draws.shape[1]:
        share = 1 - defined.shape[1] / draws.shape[1]
        return replace(found, reason=f"no interval: undefined in {share:.0%} of the draws")
    if not _moves(defined):
        return replace(found, reason="no interval: the same in all draws")
    expand = groups / (groups - 1)
    patients = float(defined.mean(axis=0).var() * expand)
    found = replace(found, run_se=float(np.sqrt(defined.var(axis=1).mean() * expand)))
    if len(values) < FEWEST_SEEDS:
        return replace(found, se=patients**0.5, df=float(groups - 1), covers=PATIENTS)
    between = float(np.var(values, ddof=1))
    explained = float((defined - defined.mean(axis=1, keepdims=True)).var(axis=0, ddof=1).mean() * expand)
    training = max(between - explained, 0.0)
    se, df = combine_errors(patients, training, between, len(values), groups)
    return replace(found, se=se, df=df, training_sd=training**0.5, covers=BOTH)


def combine_errors(patients: float, training: float, between: float, seeds: int, groups: int) -> tuple[float, float]:
    """Combine the variance over patients with that over trainings: standard error and degrees of freedom of a mean.

    Two approximations of the quantile are known. Satterthwaite (1946) weighs degrees of freedom, and is too short where
    the noise of training is most of the error. Graybill and Wang (1980) give each variance its own quantile, and are
    too short where `patients` explains all of `between`. The wider one is taken.

    Args:
        patients: variance of the mean over patients.
        training: variance of a score over trainings alone.
        between: variance between the seeds' scores, which was measured with `seeds` - 1 degrees of freedom.
        seeds: number of trainings.
        groups: number of groups of images.

    Returns:
        The standard error, and the degrees of freedom whose t quantile is the chosen one.
    """
    total = patients + training / seeds
    by_seeds = min(between / seeds, total)
    satterthwaite = total**2 / (by_seeds**2 / (seeds - 1) + (total - by_seeds) ** 2 / (groups - 1))
    quantiles = special.stdtrit(np.array([satterthwaite, groups - 1, seeds - 1]), (1 + LEVEL) / 2)
    own = np.sqrt((quantiles[1] ** 2 * patients + quantiles[2] ** 2 * training / seeds) / total)
    return float(np.sqrt(total)), satterthwaite if quantiles[0] >= own else find_freedom(float(own))


def find_freedom(quantile: float) -> float:
    """Find the degrees of freedom whose two-sided 95 % t quantile is this one, between 1 and a million."""
    low, high = 0.0, 6.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if special.stdtrit(10**middle, (1 + LEVEL) / 2) > quantile else (low, middle)
    return float(10 ** ((low + high) / 2))


def _moves(draws: np.ndarray) -> bool:
    """Return whether the mean over seeds differs between draws, which have no NaN."""
    return bool(np.ptp(draws.mean(axis=0)) > STILL)


def _bound_exactly(found: Estimate) -> Estimate:
    """The interval of Clopper and Pearson (1934) for a rate of 0 or 1, with a group as the unit."""
    bound = ((1 - LEVEL) / 2) ** (1 / found.groups)
    low, high = (bound, 1.0) if found.value == 1 else (0.0, 1 - bound)
    error = (1 - bound) / special.ndtri((1 + LEVEL) / 2)
    reason = f"exact interval of a rate of {found.value:.0f} in {found.groups} groups of images"
    return replace(found, low=low, high=high, se=float(error), df=float("inf"), covers=PATIENTS, reason=reason)
