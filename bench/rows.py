"""What a measurement returns."""

from __future__ import annotations

import operator
from dataclasses import dataclass

_COMPARE = {">=": operator.ge, "<=": operator.le, "<": operator.lt, ">": operator.gt}


class NotHereError(Exception):
    """This machine cannot measure it. The message says what is missing. The page shows it in place of a table."""


@dataclass(frozen=True)
class Row:
    """One comparison.

    ours, other: medians in `unit`; other is NaN if there is nothing to compare with.
    ratio: the number that the bar applies to: a quotient, a difference or `ours` itself; NaN if there is none.
    bar: such as `>= 8` or `< 15`; empty if there is none. note: what the other side is, and the conditions.
    """

    name: str
    ours: float
    other: float
    unit: str
    ratio: float
    bar: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        """`met`, `not met`, or empty without a bar. A ratio that is NaN meets no bar."""
        if not self.bar:
            return ""
        sign, limit = self.bar.split()
        return "met" if _COMPARE[sign](self.ratio, float(limit)) else "not met"
