"""Compute the ranks that a model may hold, and the smallest difference that a test set can resolve."""

from __future__ import annotations

import numpy as np
from scipy import stats

LEVEL, POWER = 0.95, 0.8


def range_ranks(draws: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the best and the worst rank of each model at 95 % confidence: int64, (K,) each; 1 is the best.

    draws: float64, (K, B), the score of each model in each bootstrap draw, with the same patients in a column.
    scores: float64, (K,); larger is better.

    A model's rank is one more than the number of contestants that are better. A contestant is better or worse if its
    difference lies outside a band. The band holds all differences of this model at once in 95 % of the draws (Mogstad,
    Romano, Shaikh and Wilhelm 2024, Rev. Econ. Stud. 91:476, marginal sets by single steps). All others are ties. Ranks
    within draws would give too narrow a range for models that are close.
    """
    usable = draws[:, ~np.isnan(draws).any(axis=0)]
    best, worst = np.ones(len(scores), np.int64), np.full(len(scores), len(scores))
    for number in range(len(scores)):
        contestants = np.delete(np.arange(len(scores)), number)
        if not len(contestants) or usable.shape[1] < 2:
            continue
        behind = scores[contestants] - scores[number]
        apart = usable[contestants] - usable[number] - behind[:, None]
        error = np.maximum(apart.std(axis=1), 1e-12)
        reach = np.quantile(np.abs(apart / error[:, None]).max(axis=0), LEVEL) * error
        best[number] += (behind > reach).sum()
        worst[number] -= (behind < -reach).sum()
    return best, worst


def resolvable_difference(error: float) -> float:
    """Return the true difference that a two-sided test at 5 % finds in 80 % of test sets, given its standard error."""
    return float((stats.norm.ppf((1 + LEVEL) / 2) + stats.norm.ppf(POWER)) * error)
