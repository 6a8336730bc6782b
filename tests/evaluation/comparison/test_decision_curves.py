"""Decision curves, against counts by hand."""

import numpy as np
import pandas as pd
import pytest

from covbench.evaluation.comparison.decision_curves import measure_net_benefit
from covbench.evaluation.comparison.draws import draw_groups
from covbench.reporting.figures.comparison_figures import read_decisions

ILL = np.array([True] * 4 + [False] * 6)
SCORES = np.array([0.9, 0.8, 0.6, 0.1, 0.7, 0.3, 0.2, 0.2, 0.1, 0.05])


def at(threshold, weights=None):
    once = np.ones((10, 200), np.uint16) if weights is None else weights
    table = measure_net_benefit(ILL, SCORES, np.arange(10), once).set_index("threshold")
    return table.loc[threshold]


def test_net_benefit_is_counted_by_hand():
    """From 0.5 on, 3 ill and 1 healthy of 10 are treated, and one healthy costs as much as one ill is worth."""
    assert at(0.5)["net_benefit"] == pytest.approx((3 - 1) / 10)
    assert at(0.2)["net_benefit"] == pytest.approx((3 - 4 * 0.25) / 10)  # from 0.2 on: 4 of 6 healthy at a quarter each
    assert at(0.5)["treat_all"] == pytest.approx((4 - 6) / 10)
    assert at(0.2)["treat_all"] == pytest.approx((4 - 6 * 0.25) / 10)


def test_treating_all_is_worth_nothing_at_the_prevalence():
    assert at(0.4)["treat_all"] == pytest.approx(0, abs=1e-12)


def test_the_band_holds_the_curve_and_the_gain_is_over_the_better_of_both():
    weights = draw_groups(10, 500)
    row = at(0.5, weights)
    assert row["low"] < row["net_benefit"] < row["high"]
    assert row["gain_low"] == row["low"]  # treating nobody, worth 0, is better than treating all
    assert at(0.01, weights)["gain_low"] <= 0  # everybody is treated: no gain


def test_the_sentence_names_the_thresholds_at_which_a_model_gains():
    curve = pd.DataFrame({"threshold": [0.1, 0.11, 0.12, 0.13], "gain_low": [-0.1, 0.1, 0.1, np.nan]})
    assert read_decisions("vgg16", curve).endswith("at thresholds from 0.11 to 0.12.")
    assert "with gaps" in read_decisions("vgg16", curve.assign(gain_low=[0.1, 0, 0.1, 0]))
    assert "at no threshold" in read_decisions("vgg16", curve.assign(gain_low=-1.0))
