"""What both kinds of evaluation share: ratios that may be undefined, and how an undefined value is written down."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np


def divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Element by element, float64; NaN where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, np.float64), np.asarray(denominator, np.float64))
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)


def mean_defined(values: np.ndarray) -> float:
    """Mean of the values that are defined, float64, (N,); NaN if none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def write_down(
    values: Mapping[str, float], reasons: Mapping[str, str], prefix: str = ""
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Write None for NaN, with its reason.

    Args:
        values: by name.
        reasons: why a value of that name is undefined; a missing reason is a mistake of the caller, a KeyError.
        prefix: of the names in the second table.

    Returns:
        The values, and for each None its reason under `prefix + name`.
    """
    written = {name: None if math.isnan(value) else float(value) for name, value in values.items()}
    return written, {prefix + name: reasons[name] for name, value in written.items() if value is None}
