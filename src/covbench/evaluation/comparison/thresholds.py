"""Choose the threshold of an operating point on validation groups, and rate test groups at it, in each bootstrap draw.

The threshold has to promise a rate for new patients, and not only for those of the validation fold. It is therefore
the quantile of split conformal prediction: of n scores, the ceil(q (n + 1))-th smallest keeps the rate q, on average
over validation folds (Vovk, Gammerman and Shafer 2005, Algorithmic Learning in a Random World, Springer). Each draw of
groups chooses anew, so that an interval over the draws covers the choice too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from covbench.evaluation.ratios import divide

PIECES = 128
"""Pieces in which scores are counted first. Only those that a threshold can lie in are then counted one by one."""


@dataclass(frozen=True)
class DrawnScores:
    """Scores of one class in one fold, counted in every bootstrap draw.

    values: float64, (N,), ascending. codes: int64, (N,), the group of each. weights: whole numbers, (P, B), how often
    each group is drawn. starts: int64, (K + 1,), where each piece starts, and N. counted: int64, (K + 1, B), the scores
    before each start.
    """

    values: np.ndarray
    codes: np.ndarray
    weights: np.ndarray
    starts: np.ndarray
    counted: np.ndarray

    def count_before(self, first: int, last: int) -> tuple[int, np.ndarray]:
        """Count the scores before each place from `first` to `last`, in each draw.

        Returns the first place that is counted, at or before `first`, and the counts, int64, (places, B).
        """
        piece = int(np.searchsorted(self.starts, first, side="right")) - 1
        start = int(self.starts[piece])
        counted = np.empty((max(last - start, 0) + 1, self.weights.shape[1]), np.int64)
        counted[0] = self.counted[piece]
        np.cumsum(self.weights[self.codes[start:last]], axis=0, out=counted[1:])
        counted[1:] += counted[0]
        return start, counted


def draw_scores(values: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> DrawnScores:
    """Sort the scores of a class, and count them in each draw.

    Args:
        values: float, (N,).
        codes: int64, (N,), the group of each as a row of `weights`.
        weights: whole numbers, (P, B), how often each group is drawn.

    Returns:
        The counted scores.
    """
    order = np.argsort(values, kind="stable")
    codes = codes[order]
    starts = np.unique(np.linspace(0, len(order), min(PIECES, len(order)) + 1).astype(np.int64))
    pieces = csr_array((np.ones(len(codes), weights.dtype), codes, starts), (len(starts) - 1, len(weights)))
    before = np.zeros((len(starts), weights.shape[1]), np.int64)
    np.cumsum(pieces @ weights, axis=0, out=before[1:])
    return DrawnScores(values[order].astype(np.float64), codes, weights, starts, before)


def raise_level(rate: float, scores: int) -> float:
    """Return the share of validation scores that promises a rate, 0-1, for new ones; above 1 if there are too few."""
    return rate * (scores + 1) / scores if scores else np.inf


def choose_thresholds(scores: DrawnScores, rate: float) -> np.ndarray:
    """Choose the smallest threshold that promises a rate of the scores at or below it.

    Args:
        scores: the validation scores of the class whose rate is promised.
        rate: the promised rate, 0-1.

    Returns:
        The threshold in each draw, float64, (B,). NaN where a draw has no score, and if there are too few scores.
    """
    level = raise_level(rate, len(scores.values))
    if level > 1 + 1e-9:
        return np.full(scores.weights.shape[1], np.nan)
    need = level * scores.counted[-1] - 1e-9
    piece = np.minimum((scores.counted[1:] < need).sum(axis=0), len(scores.starts) - 2)
    start, counted = scores.count_before(int(scores.starts[piece.min()]), int(scores.starts[piece.max() + 1]))
    chosen = np.minimum(start + (counted[1:] < need).sum(axis=0), len(scores.values) - 1)
    return np.where(scores.counted[-1] > 0, scores.values[chosen], np.nan)


def share_below(scores: DrawnScores, thresholds: np.ndarray) -> np.ndarray:
    """Compute the share of scores at or below the threshold of each draw.

    Args:
        scores: the test scores of a class.
        thresholds: float64, (B,), of each draw; NaN: none.

    Returns:
        float64, (B,), NaN where a draw has no threshold or no score.
    """
    known = ~np.isnan(thresholds)
    places = np.searchsorted(scores.values, np.where(known, thresholds, 0.0), side="right")
    start, counted = scores.count_before(int(places.min()), int(places.max()))
    below = counted[places - start, np.arange(len(places))]
    return np.where(known, divide(below, scores.counted[-1]), np.nan)
