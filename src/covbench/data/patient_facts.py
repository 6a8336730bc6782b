"""Coarse facts about patients: sex as a letter and age as a band, as far as a dataset publishes them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from covbench.data.names import NOT_GIVEN, fold_name

SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}
_LIMITS = (0, 20, 40, 60, 80)
OLDEST = 120
AGE_BANDS = (*(f"{low}-{high - 1}" for low, high in pairwise(_LIMITS)), f"{_LIMITS[-1]}+")
"""Bands of twenty years. An index holds no age, because an age in years helps to find the person."""
FACTS = {"sex": ("F", "M"), "age_band": AGE_BANDS}
"""Column of an index -> its values where they are known."""

log = logging.getLogger(__name__)


def read_facts(path: Path, sexes: Sequence[str], ages: Sequence[str]) -> dict[str, list[str]]:
    """Read what a table says of patients. What is not understood is unknown, and the log counts it.

    Args:
        path: the table, for the log.
        sexes: a cell per row.
        ages: a cell per row, in years.

    Returns:
        The columns `sex` and `age_band` of an index; empty where unknown.
    """
    facts = {"sex": [SEXES.get(fold_name(sex), "") for sex in sexes], "age_band": [band_age(age) for age in ages]}
    for given, (name, found) in zip((sexes, ages), facts.items(), strict=True):
        lost = [cell for cell, fact in zip(given, found, strict=True) if not fact and fold_name(cell) not in NOT_GIVEN]
        if lost:
            log.warning("%s: no %s can be read of %d rows, such as %r", path.name, name, len(lost), lost[0])
    return facts


def band_age(age: str) -> str:
    """Return the band of AGE_BANDS that an age in years is in; empty if it is no number from 0 to OLDEST."""
    try:
        years = float(age)
    except ValueError:
        return ""
    if not 0 <= years <= OLDEST:
        return ""
    return AGE_BANDS[sum(years >= limit for limit in _LIMITS) - 1]
