import math

import numpy as np
import pytest

from covbench.evaluation.comparison.model_pairs import Contestant
from covbench.evaluation.comparison.replication import compare_protocols, judge
from covbench.schema import Run
from tests.run_records import score_record


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


def contestant(protocol, draws, patients=50):
    run = score_record(Run("covid_ct", protocol, "vgg16", 0), {"groups": patients})
    return Contestant("vgg16", "deep", {0: run}, {"auroc": float(draws.mean())}, {"auroc": draws})


def test_what_both_protocols_draw_alike_cancels_out_of_the_change():
    shared = np.random.default_rng(0).normal(0, 0.1, 4000)
    sides = {"published": contestant("published", 0.9 + shared), "audited": contestant("audited", 0.8 + shared)}
    summary = [
        {"protocol": protocol, "architecture": "vgg16", "metric": "auroc", "mean": mean, "low": mean - 0.2, "high": 1.0}
        for protocol, mean in (("published", 0.9), ("audited", 0.8))
    ]
    (row,) = compare_protocols(summary, {"vgg16": sides["published"]}, {"vgg16": sides["audited"]})
    assert (row["change"], row["change_low"], row["change_high"]) == pytest.approx((-0.1, -0.1, -0.1))
    assert (row["mean_published"], row["low_audited"]) == pytest.approx((0.9, 0.6))


def test_a_model_of_one_protocol_alone_has_no_change():
    assert list(compare_protocols([], {"vgg16": contestant("published", np.ones(9))}, {})) == []
