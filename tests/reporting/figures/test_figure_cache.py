"""Figures are drawn once and drawn anew when what they show changes."""

import os
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest

from covbench.reporting.figures import figure_cache as cache
from covbench.reporting.figures import lines_and_bars as figures
from covbench.reporting.figures.figure_cache import FORGOTTEN, FigureCache


@pytest.fixture
def shelf(tmp_path):
    (tmp_path / "kept").mkdir()
    return FigureCache(tmp_path / "report", tmp_path / "kept")


def ask(values):
    return partial(figures.draw_confusions, [("vgg16", np.array(values, float))], ["normal", "covid"])


def read_dates(shelf):
    return {path.name: path.stat().st_ino for path in shelf.kept.iterdir()}


def test_a_figure_is_drawn_once_for_the_same_data(shelf):
    first = shelf.draw(ask([[3, 1], [0, 4]]))
    drawn = read_dates(shelf)
    assert sorted(first) == ["pdf", "png", "svg"]
    assert first["svg"].read_text().count("vgg16") == 1
    assert shelf.draw(ask([[3, 1], [0, 4]])) == first
    assert read_dates(shelf) == drawn


def test_other_data_are_another_figure(shelf):
    first = shelf.draw(ask([[3, 1], [0, 4]]), ["svg"])
    assert shelf.draw(ask([[3, 1], [1, 3]]), ["svg"])["svg"] != first["svg"]


def test_equal_tables_read_twice_are_the_same_figure(shelf, tmp_path):
    table = pd.DataFrame({"epoch": [1, 2], "phase": ["head", "fine_tune"], "loss": [2.0, 1.0], "accuracy": [0.5, 0.6]})
    table.assign(val_loss=2.0, val_accuracy=0.4).to_csv(tmp_path / "history.csv", index=False)
    read = [partial(figures.draw_learning_curves, {"a": [pd.read_csv(tmp_path / "history.csv")]}) for _ in range(2)]
    assert shelf.draw(read[0], ["svg"]) == shelf.draw(read[1], ["svg"])


def test_figures_drawn_by_other_code_are_drawn_again(shelf, monkeypatch):
    first = shelf.draw(ask([[1, 0], [0, 1]]), ["svg"])
    monkeypatch.setattr(cache, "_hash_code", lambda: "other code")
    assert shelf.draw(ask([[1, 0], [0, 1]]), ["svg"]) != first


def test_figures_that_no_report_has_used_for_a_month_are_removed(shelf):
    old, new = (shelf.draw(ask([[number, 0], [0, 1]]), ["svg"])["svg"] for number in (1, 2))
    past = time.time() - FORGOTTEN - 1
    os.utime(old, (past, past))
    shelf.clear()
    assert (old.exists(), new.exists()) == (False, True)
