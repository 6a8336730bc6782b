"""Functions that both kinds of evaluation share: ratios that may be undefined, and how undefined values are written."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Divide element by element: float64, NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)


def mean_defined(values: np.ndarray) -> float:
    """Average the defined values of a float64 array, (N,); NaN if none is defined."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def write_down(
    values: Mapping[str, float], reasons: Mapping[str, str], prefix: str = ""
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Write None for NaN, with its reason.

    Args:
        values: by name.
        reasons: by name, why a value is undefined.
        prefix: prefix of the names of the reasons.

    Returns:
        The values, and the reason for each None under `prefix + name`.

    Raises:
        KeyError: An undefined value has no entry in `reasons`.
    """
    written = {name: None if math.isnan(value) else float(value) for name, value in values.items()}
    return written, {prefix + name: reasons[name] for name, value in written.items() if value is None}
