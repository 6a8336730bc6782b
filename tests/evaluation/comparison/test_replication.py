import math

import pytest

from covbench.evaluation.comparison.replication import judge


@pytest.mark.parametrize(
    ("reported", "ours", "verdict", "why"),
    [
        (0.80, {"mean": 0.82, "low": 0.79, "high": 0.85}, "matches", "inside our 95 % interval"),
        (0.85, {"mean": 0.82, "low": 0.79, "high": 0.85}, "matches", "inside our 95 % interval"),
        (0.94, {"mean": 0.82, "low": 0.79, "high": 0.85}, "differs", "above our 95 % interval"),
        (0.50, {"mean": 0.82, "low": 0.79, "high": 0.85}, "differs", "below our 95 % interval"),
        (0.80, {}, "untestable", "no finished run under published"),
        (0.80, {"mean": None, "low": None, "high": None}, "untestable", "our metric is undefined on this test fold"),
        (0.80, {"mean": 0.9, "low": math.nan, "high": math.nan}, "untestable", "our value has no interval"),
    ],
)
def test_a_reported_value_is_judged_by_our_interval(reported, ours, verdict, why):
    assert judge(reported, ours) == (verdict, why)
