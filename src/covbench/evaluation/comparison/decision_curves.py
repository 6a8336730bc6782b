"""Decision curves: the net benefit of treating those whom a model calls ill, over threshold probabilities.

Vickers and Elkin 2006, Med. Decis. Making 26:565. Who treats at a probability of p accepts p / (1 - p) healthy people
treated for one ill person. The net benefit counts ill people treated less healthy ones at this rate, per image.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from covbench.evaluation.comparison.bootstrap import find_interval
from covbench.evaluation.ratios import divide

THRESHOLDS = np.arange(1, 100) / 100


def measure_net_benefit(
    is_class: np.ndarray, scores: np.ndarray, codes: np.ndarray, weights: np.ndarray
) -> pd.DataFrame:
    """Compute the net benefit at THRESHOLDS with a pointwise 95 % band over groups.

    Args:
        is_class: bool, (N,), whether each image is of the positive class.
        scores: float, (N,), its probability. An image is treated from the threshold on.
        codes: int64, (N,), the group of each image as a row of `weights`.
        weights: whole numbers, (P, B), how often each group is drawn.

    Returns:
        A table with the columns threshold, net_benefit, low, high, treat_all and gain_low. treat_all is the net benefit
        of treating everybody. gain_low is the lower end of the 95 % interval of the gain over treating all, or over
        treating nobody where that is better.
    """
    worth = np.where(is_class, 1.0, -THRESHOLDS[:, None] / (1 - THRESHOLDS[:, None]))
    treated = worth * (scores >= THRESHOLDS[:, None])
    count = len(is_class)
    images = np.bincount(codes, minlength=len(weights)) @ weights.astype(np.float64)
    drawn, everybody = (
        divide(np.stack([np.bincount(codes, row, len(weights)) for row in rows]) @ weights, images)
        for rows in (treated, worth)
    )
    value, treat_all = treated.sum(axis=1) / count, worth.sum(axis=1) / count
    gains = drawn - np.where((treat_all > 0)[:, None], everybody, 0.0)
    bands = [find_interval(row, len(weights))[:2] for row in drawn]
    table = pd.DataFrame(bands, columns=["low", "high"], dtype=float)
    table = table.assign(threshold=THRESHOLDS, net_benefit=value, treat_all=treat_all)
    table["gain_low"] = [find_interval(row, len(weights))[0] for row in gains]
    return table[["threshold", "net_benefit", "low", "high", "treat_all", "gain_low"]].astype(float)
