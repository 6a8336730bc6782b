"""Standard errors and 95 % intervals of scores and of differences: patients from bootstrap draws, training from seeds.

A mean over S trainings varies for two reasons: its test images show other patients, and the networks would be trained
anew. The bootstrap draws measure the first variance, V, whatever overlap the test folds of the seeds have. The variance
between the seeds' scores measures the second one, together with what patients alone explain of it.
docs/explanation/statistics.md has the simulations behind each choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

SIGNIFICANT = 0.05
DEFINED = 0.9
STILL = 1e-6
"""Sums of draws are in float32, so that draws closer than this are the same."""
FEWEST_SEEDS = 3
"""With two seeds, the noise of training has one degree of freedom: an interval 6 times as wide as one over patients."""
FEWEST_GROUPS = 6
"""Intervals of fewer groups cover less than 93 % or more than 97 % in simulated studies."""

STUCK = "no interval: one of the two scores has no error in any draw"

BOTH, PATIENTS = "patients and training", "patients"


@dataclass(frozen=True)
class Error:
    """The variance of a mean over S trainings, by its causes.

    patients: what the draws of groups explain, measured with `groups` - 1 degrees of freedom. training: what the noise
    of training adds. between: the variance between seeds / S, from which `training` was measured with `seeds` - 1
    degrees of freedom; it includes the patients of each seed. strict: whether intervals may miss the truth in no more
    than the stated share of studies, whatever the noise of training, as a test must.
    """

    patients: float
    groups: int
    training: float = 0.0
    between: float = 0.0
    seeds: int = 1
    strict: bool = False

    @property
    def se(self) -> float:
        """Standard error of the mean."""
        return float(np.sqrt(self.patients + self.training))

    def reach(self, p: float) -> float:
        """Return how far an estimate lies from the truth, at most, in all studies but a share of p.

        Two approximations of the quantile are known, and the wider one is taken. Satterthwaite (1946) weighs degrees of
        freedom, and is too short where the noise of training is most of the error. Graybill and Wang (1980) give each
        variance its own quantile, and are too short where patients explain most of `between`. A strict error counts
        all of `between` as measured by the seeds alone.
        """
        level, groups = 1 - p / 2, self.groups - 1
        total = self.patients + self.training
        by_groups = float(special.stdtrit(groups, level))
        if self.seeds == 1 or not total:
            return by_groups * self.se
        by_seeds = min(self.between, total)
        df = total**2 / (by_seeds**2 / (self.seeds - 1) + (total - by_seeds) ** 2 / groups)
        uncertain = by_seeds if self.strict else self.training
        own = by_groups**2 * (total - uncertain) + float(special.stdtrit(self.seeds - 1, level)) ** 2 * uncertain
        return max(float(special.stdtrit(df, level)) * self.se, float(np.sqrt(own)))

    @property
    def df(self) -> float:
        """The degrees of freedom whose t quantile gives the 95 % interval, between 1 and a million."""
        return _bisect(lambda df: special.stdtrit(df, 1 - SIGNIFICANT / 2) * self.se > self.reach(SIGNIFICANT), 0, 6)

    def test(self, difference: float) -> float:
        """Return the two-sided p-value of a difference: below .05 exactly where its 95 % interval excludes 0."""
        return _bisect(lambda p: self.reach(p) > abs(difference), -16, 0)


def _bisect(beyond: Callable[[float], bool], low: float, high: float) -> float:
    """Find where a falling function crosses a limit, in 10**low … 10**high. beyond: whether it is above."""
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if beyond(10**middle) else (low, middle)
    return float(10 ** ((low + high) / 2))


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, or a difference of two, with its 95 % interval.

    error: None where there is no interval, or an exact one. low, high: the interval, NaN where there is none. run_se:
    standard error of a single run over patients. training_sd: standard deviation of a score over trainings alone, NaN
    with fewer than FEWEST_SEEDS seeds. covers: BOTH, PATIENTS or empty without interval. reason: why there is no
    interval, or what it is where it is exact.
    """

    value: float
    groups: int
    error: Error | None = None
    low: float = np.nan
    high: float = np.nan
    run_se: float = np.nan
    training_sd: float = np.nan
    covers: str = ""
    reason: str = ""

    @property
    def se(self) -> float:
        """Standard error. An exact interval has that of a normal distribution with the same reach."""
        exact = (self.high - self.low) / float(special.ndtri(1 - SIGNIFICANT / 2))
        return self.error.se if self.error else exact

    @property
    def df(self) -> float:
        """Degrees of freedom of the standard error; NaN where it has none."""
        return self.error.df if self.error else np.nan

    def name_columns(self, name: str) -> dict[str, float]:
        """Name the value and the ends of its interval as columns of a table: `name`, `name_low` and `name_high`."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}

    @property
    def p(self) -> float:
        """The two-sided p-value of a difference; NaN without interval. An exact one is that of a sign test."""
        exact = 2.0 ** (1 - self.groups) if self.covers else np.nan
        return self.error.test(self.value) if self.error else exact


def estimate_score(
    values: np.ndarray, draws: np.ndarray, groups: int, rate: bool = False, share: bool = True
) -> Estimate:
    """Estimate a score with an interval: for a share whose draws stay between 0 and 1 the t interval of its logit.

    Args:
        values: float64, (S,), the score of each training.
        draws: float, (S, B), the same in each bootstrap draw of groups.
        groups: number of groups that the score rests on.
        rate: whether the score counts images. Without any error, or with nothing else, its interval is exact.
        share: whether the score has no unit.

    Returns:
        The estimate of the mean.
    """
    found = _measure(values, draws, groups)
    if rate and groups and found.value in (0, 1):
        return _bound_exactly(found)
    if not found.error:
        return found
    reach = found.error.reach(SIGNIFICANT)
    if share and 0 < found.value < 1 and np.nanmin(draws) >= 0 and np.nanmax(draws) <= 1:
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
    if not found.error:
        return found
    error = replace(found.error, strict=True)
    reach = error.reach(SIGNIFICANT)
    return replace(found, error=error, low=found.value - reach, high=found.value + reach)


def separate_exactly(found: Estimate) -> Estimate:
    """The exact interval of two rates on the same images, of which one is 1 and the other 0 (Clopper and Pearson).

    It excludes 0 exactly where the sign test over groups has a p-value below .05: from six groups on.
    """
    bound = 2 * (SIGNIFICANT / 2) ** (1 / found.groups) - 1
    low, high = sorted((found.value, found.value * bound))
    reason = f"exact interval of two models that differ in all of {found.groups} groups of images"
    return replace(found, low=low, high=high, covers=PATIENTS, reason=reason)


def is_perfect(values: np.ndarray, draws: np.ndarray, lower: bool = False) -> bool:
    """Say whether a score has no error in any draw, so that its draws say nothing of its own error.

    Args:
        values: float64, (S,), the score of each training.
        draws: float, (S, B), the same in each bootstrap draw.
        lower: whether a smaller value is the better one.

    Returns:
        Whether every value is the best one, and no draw changes the mean.
    """
    return bool((values == (0 if lower else 1)).all()) and not _moves(draws)


def explain_scope(found: Estimate, seeds: int) -> str:
    """Say why there is no interval, or why it covers patients alone; empty if it covers training too."""
    if found.reason or found.covers == BOTH:
        return found.reason
    few = say_too_few(seeds)
    return f"{few} to measure the noise of training: this speaks of the trained models, not of architectures"


def say_too_few(seeds: int) -> str:
    """Begin the sentence that says what some seeds cannot show: `1 seed is too few`, `2 seeds are too few`."""
    return f"{'1 seed is' if seeds == 1 else f'{seeds} seeds are'} too few"


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
        return replace(found, error=Error(patients, groups), covers=PATIENTS)
    between = float(np.var(values, ddof=1))
    explained = float((defined - defined.mean(axis=1, keepdims=True)).var(axis=0, ddof=1).mean() * expand)
    training = max(between - explained, 0.0)
    error = Error(patients, groups, training / len(values), between / len(values), len(values))
    return replace(found, error=error, training_sd=training**0.5, covers=BOTH)


def _moves(draws: np.ndarray) -> bool:
    """Return whether the mean over seeds differs between draws, which have no NaN."""
    return bool(np.ptp(draws.mean(axis=0)) > STILL)


def _bound_exactly(found: Estimate) -> Estimate:
    """The interval of Clopper and Pearson (1934) for a rate of 0 or 1, with a group as the unit."""
    bound = (SIGNIFICANT / 2) ** (1 / found.groups)
    low, high = (bound, 1.0) if found.value == 1 else (0.0, 1 - bound)
    reason = f"exact interval of a rate of {found.value:.0f} in {found.groups} groups of images"
    return replace(found, low=low, high=high, covers=PATIENTS, reason=reason)
