"""Temperature scaling: one number per run, fitted on its validation fold, sharpens or flattens all probabilities.

Guo et al. 2017, "On calibration of modern neural networks", ICML. The inverse of the temperature is fitted, because the
log loss is convex in it. In a bootstrap draw it takes one Newton step from the fitted one (Moulton and Zeger 1991,
Comput. Stat. Data Anal. 11:53), so that intervals cover the choice on validation without another fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from covbench.evaluation.comparison.validation import SharedDraws
from covbench.evaluation.metrics.classification import LEAST
from covbench.evaluation.ratios import divide

COLDEST, HOTTEST = 0.05, 20.0
FEWEST_VALIDATION_GROUPS = 30
"""Of a validation fold that a temperature is fitted on. docs/explanation/statistics.md has the simulations."""
FEW = f"no temperature: the validation fold has fewer than {FEWEST_VALIDATION_GROUPS} groups of images"
BEYOND = f"no temperature between {COLDEST} and {HOTTEST:.0f} fits the validation fold"


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature. inverse: 1 / temperature. drawn: the same in each bootstrap draw, float64, (B,)."""

    inverse: float
    drawn: np.ndarray


def scale_probabilities(probabilities: np.ndarray, inverse: float) -> np.ndarray:
    """Divide the logits of probabilities by a temperature.

    probabilities: float64, (N, C). inverse: 1 / temperature. Returns float64, (N, C), rows of sum 1.
    """
    scaled: np.ndarray = special.softmax(inverse * np.log(np.maximum(probabilities, LEAST)), axis=1)
    return scaled


def _slope_loss(probabilities: np.ndarray, truth: np.ndarray, inverse: float) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative of the log loss of each image by the inverse temperature: float64, (N,) each."""
    logs = np.log(np.maximum(probabilities, LEAST))
    scaled = scale_probabilities(probabilities, inverse)
    mean = (scaled * logs).sum(axis=1)
    return mean - logs[np.arange(len(truth)), truth], (scaled * logs**2).sum(axis=1) - mean**2


def fit_temperature(
    probabilities: np.ndarray, truth: np.ndarray, codes: np.ndarray, shared: SharedDraws
) -> Temperature | str:
    """Fit the temperature with the smallest log loss.

    Args:
        probabilities: float64, (N, C), of a validation fold.
        truth: int64, (N,), class numbers.
        codes: int64, (N,), the group of each image.
        shared: the draws of the groups.

    Returns:
        The temperature, or why there is none.
    """
    if len(np.unique(codes)) < FEWEST_VALIDATION_GROUPS:
        return FEW

    def slope(inverse: float) -> float:
        return float(_slope_loss(probabilities, truth, inverse)[0].mean())

    if slope(1 / HOTTEST) >= 0 or slope(1 / COLDEST) <= 0:
        return BEYOND
    inverse = float(optimize.brentq(slope, 1 / HOTTEST, 1 / COLDEST))
    first, second = shared.add_up(np.stack(_slope_loss(probabilities, truth, inverse)), codes)
    drawn = np.clip(inverse - divide(first, second), 1 / HOTTEST, 1 / COLDEST)
    return Temperature(inverse, drawn)


def interpolate_draws(at: tuple[np.ndarray, np.ndarray, np.ndarray], steps: np.ndarray) -> np.ndarray:
    """Interpolate what is known one step below, at, and one step above a value, by the parabola through all three.

    Args:
        at: float64, (…, B), below, at and above.
        steps: float64, (B,), where each draw lies, in steps.

    Returns:
        float64, (…, B).
    """
    below, middle, above = at
    interpolated: np.ndarray = middle + steps * (above - below) / 2 + steps**2 * (above - 2 * middle + below) / 2
    return interpolated
