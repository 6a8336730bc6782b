"""Calibration slope and intercept: logistic regression of a class on the logit of its probability.

Cox 1958, Biometrika 45:562; Van Calster et al. 2019, BMC Med. 17:230. A slope below 1 means that probabilities are too
extreme. The intercept is that of a slope of 1: above 0, probabilities are too low on average. In a bootstrap draw both
take one Newton step from the fitted ones (Moulton and Zeger 1991, Comput. Stat. Data Anal. 11:53).
"""

from __future__ import annotations

import numpy as np
from scipy import optimize, special

from covbench.evaluation.comparison.validation import SharedDraws
from covbench.evaluation.metrics.classification import LEAST, ONE_CLASS
from covbench.evaluation.ratios import divide

SLOPE, INTERCEPT = "slope", "intercept"
SEPARATED = "the probabilities separate the classes, so that no slope is finite"
CONSTANT = "all images have the same probability"


def find_logits(probabilities: np.ndarray) -> np.ndarray:
    """Compute the logit of probabilities, float, (N,), which count as LEAST at least and 1 - LEAST at most."""
    logits: np.ndarray = special.logit(np.clip(probabilities.astype(np.float64), LEAST, 1 - LEAST))
    return logits


def explain_undefined(logits: np.ndarray, is_class: np.ndarray) -> dict[str, str]:
    """Say why slope or intercept is undefined. logits: float64, (N,). is_class: bool, (N,)."""
    if is_class.all() or not is_class.any():
        return {SLOPE: ONE_CLASS, INTERCEPT: ONE_CLASS}
    inside, others = logits[is_class], logits[~is_class]
    if np.ptp(logits) == 0:
        return {SLOPE: CONSTANT}
    if inside.min() >= others.max() or others.min() >= inside.max():
        return {SLOPE: SEPARATED}
    return {}


def fit_logistic(design: np.ndarray, offset: np.ndarray, is_class: np.ndarray) -> np.ndarray:
    """Fit a logistic regression without penalty.

    Args:
        design: float64, (N, K), the columns whose coefficients are fitted.
        offset: float64, (N,), a column whose coefficient is 1.
        is_class: bool, (N,).

    Returns:
        The coefficients, float64, (K,).
    """

    def loss(coefficients: np.ndarray) -> float:
        logits = design @ coefficients + offset
        return float((np.logaddexp(0, logits) - is_class * logits).mean())

    def gradient(coefficients: np.ndarray) -> np.ndarray:
        return design.T @ (special.expit(design @ coefficients + offset) - is_class) / len(design)

    def hessian(coefficients: np.ndarray) -> np.ndarray:
        chance = special.expit(design @ coefficients + offset)
        return (design.T * (chance * (1 - chance))) @ design / len(design)

    start = np.zeros(design.shape[1])
    found = optimize.minimize(loss, start, jac=gradient, hess=hessian, method="trust-exact", options={"gtol": 1e-8})
    return np.asarray(found.x)


def recalibrate(
    logits: np.ndarray, is_class: np.ndarray, codes: np.ndarray, shared: SharedDraws
) -> dict[str, tuple[float, np.ndarray]]:
    """Compute calibration slope and intercept, as they are and in each draw.

    Args:
        logits: float64, (N,), of the probability of the class.
        is_class: bool, (N,).
        codes: int64, (N,), the group of each image.
        shared: the draws of the groups.

    Returns:
        SLOPE and INTERCEPT -> value and draws, float64, (B,). An undefined one is left out.
    """
    undefined, ones = explain_undefined(logits, is_class), np.ones_like(logits)
    found: dict[str, tuple[float, np.ndarray]] = {}
    if INTERCEPT not in undefined:
        (value,) = fit_logistic(ones[:, None], logits, is_class)
        first, second = _sum_draws(is_class - special.expit(logits + value), ones[None], codes, shared)
        found[INTERCEPT] = float(value), value + divide(first[0], second[0])
    if SLOPE not in undefined:
        free, value = fit_logistic(np.column_stack([ones, logits]), np.zeros_like(logits), is_class)
        residuals = is_class - special.expit(free + value * logits)
        (one, along), (flat, mixed, steep) = _sum_draws(residuals, np.stack([ones, logits]), codes, shared)
        found[SLOPE] = float(value), value + divide(flat * along - mixed * one, flat * steep - mixed**2)
    return found


def _sum_draws(
    residuals: np.ndarray, columns: np.ndarray, codes: np.ndarray, shared: SharedDraws
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient, (K, B), and the upper triangle of the information matrix, in each draw. columns: (K, N)."""
    chance = np.abs(residuals) * (1 - np.abs(residuals))  # p (1 - p), whichever class the image has
    pairs = [columns[i] * columns[j] for i in range(len(columns)) for j in range(i, len(columns))]
    rows = [*(columns * residuals), *(pair * chance for pair in pairs)]
    sums = shared.add_up(np.stack(rows), codes)
    return sums[: len(columns)], sums[len(columns) :]
