"""What a measurement returns."""

from __future__ import annotations

import operator
from dataclasses import dataclass

_COMPARE = {">=": operator.ge, "<=": operator.le, "<": operator.lt, ">": operator.gt}


class NotHereError(Exception):
    """This machine cannot measure it; the message says what is missing and stands in the page instead of a table."""


@dataclass(frozen=True)
class Row:
    """One comparison.

    ours, other: medians in `unit`; other is NaN where there is nothing to compare with.
    ratio: the figure that the bar is about, a quotient, a difference or `ours` itself; NaN: none.
    bar: `>= 8`, `< 15`; empty: none. note: what the other side is, what varied, why the bar was missed.
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
        """`met`, `not met`, or nothing without a bar; a ratio that is not a number meets none."""
        if not self.bar:
            return ""
        sign, limit = self.bar.split()
        return "met" if _COMPARE[sign](self.ratio, float(limit)) else "not met"
