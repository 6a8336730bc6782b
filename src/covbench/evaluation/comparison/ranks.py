"""Compute the ranks that a model may hold, and the smallest difference that a study can resolve."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import special

from covbench.evaluation.comparison.intervals import SIGNIFICANT, Error

POWER = 0.8


def range_ranks(models: Sequence[str], better: Iterable[tuple[str, str]]) -> Mapping[str, tuple[int, int]]:
    """Compute the best and the worst rank of each model from verdicts on pairs; 1 is the best.

    Verdicts are corrected after Holm: with 95 % confidence none of a table is wrong, so that all ranks hold at once.

    Args:
        models: names of the K models.
        better: pairs of models, the first of which is better.

    Returns:
        Best rank (1 + models that are better) and worst rank (K - models that are worse) by model.
    """
    ahead, behind = dict.fromkeys(models, 0), dict.fromkeys(models, 0)
    for winner, loser in better:
        behind[winner] += 1
        ahead[loser] += 1
    return {name: (1 + ahead[name], len(models) - behind[name]) for name in models}


def resolvable_difference(error: Error, pairs: int) -> float:
    """Compute the true difference that 80 % of such studies find in one pair, in the first step of Holm's correction.

    error: of a difference. pairs: number of pairs that are tested together.
    """
    return error.reach(SIGNIFICANT / pairs) + float(special.stdtrit(error.df, POWER)) * error.se


def correct_holm(values: np.ndarray) -> np.ndarray:
    """Correct the p-values of one family after Holm (1979): float64, (K,). NaN stays NaN and does not count."""
    corrected = np.full(len(values), np.nan)
    order = np.argsort(values)[: int((~np.isnan(values)).sum())]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected
