"""The measurements of bench/: found by themselves, judged by their bars, and one that fails loses no other."""

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from covbench.data.datasets import TASKS
from covbench.data.folds import ClassMaps
from covbench.experiment.config import check_config

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench import __main__ as command  # noqa: E402
from bench import page  # noqa: E402
from bench.processes import call_fresh  # noqa: E402
from bench.rows import Row  # noqa: E402
from bench.sample_settings import CANDIDATES, read_sample, score  # noqa: E402


@pytest.fixture
def drawn_page(tmp_path, monkeypatch):
    """A page and a folder of results of their own."""
    path = tmp_path / "PERFORMANCE.md"
    path.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    monkeypatch.setattr(page, "PAGE", path)
    monkeypatch.setattr(page, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    return path


@pytest.mark.parametrize(
    ("ratio", "bar", "verdict"),
    [
        (8.0, ">= 8", "met"),
        (7.9, ">= 8", "not met"),
        (300.0, "< 300", "not met"),
        (1e-6, "<= 1e-5", "met"),
        (5.0, "", ""),
    ],
)
def test_a_ratio_is_judged_by_its_bar(ratio, bar, verdict):
    assert Row("a", 1.0, 1.0, "s", ratio, bar).verdict == verdict


def test_a_ratio_that_is_no_number_meets_no_bar():
    assert [Row("a", 1.0, 1.0, "s", math.nan, bar).verdict for bar in (">= 8", "< 15")] == ["not met", "not met"]


def test_a_measurement_that_fails_is_named_and_the_others_stay(drawn_page):
    page.keep_result("good", "A good one", [Row("steps", 2.0, 1.0, "steps/s", 2.0, ">= 3", "a | b")], "", 1.0)
    assert not command.run("no_such_measurement", "A lost one")
    page.write_page()
    text = drawn_page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| steps | 2 | 1 | steps/s | 2 | >= 3 | not met | a \\| b |" in text
    assert "0 of 1 bars were reached" in text
    assert "Not measured: ModuleNotFoundError: No module named 'bench.no_such_measurement'" in text


def test_writing_the_page_twice_changes_nothing(drawn_page):
    page.keep_result("good", "A good one", [Row("steps", 2.0, math.nan, "s", math.nan)], "", 1.0)
    page.write_page()
    once = drawn_page.read_text()
    page.write_page()
    assert drawn_page.read_text() == once


def test_a_machine_that_cannot_measure_keeps_what_was_measured_elsewhere(drawn_page, monkeypatch):
    page.keep_result("gpu", "On a GPU", [Row("images", 900.0, math.nan, "images/s", math.nan)], "", 1.0)

    def refuse(function, timeout):
        raise RuntimeError("bench.rows.NotHereError: no GPU was at hand")

    monkeypatch.setattr(command, "call_fresh", refuse)
    command.run("gpu", "On a GPU")
    command.run("another", "Another on a GPU")
    page.write_page()
    assert "| images | 900 |" in drawn_page.read_text()
    assert "Not measured: no GPU was at hand" in drawn_page.read_text()


def test_a_fresh_process_gives_back_plain_values():
    row = call_fresh("bench.rows:Row", "a", 1.0, 2.0, "s", 0.5)
    assert row == {"name": "a", "ours": 1.0, "other": 2.0, "unit": "s", "ratio": 0.5, "bar": "", "note": ""}


def test_every_measurement_has_a_heading():
    found = command.find_measurements()
    assert "loader" in found
    assert all(title and title != name and len(title) < 120 for name, title in found.items())


def test_settings_are_scored_by_auroc_or_by_all_lesion_pixels_of_the_validation_fold():
    two, three = TASKS["covid_ct"], TASKS["radiography"]
    labels = SimpleNamespace(masks=None, load_targets=lambda: np.array([0, 1, 1, 0]))
    chances = np.array([0.2, 0.3, 0.9, 0.5])
    assert score(two, labels, np.stack([1 - chances, chances], axis=1)) == 3 / 4
    labels = SimpleNamespace(masks=None, load_targets=lambda: np.array([0, 1, 2]))
    assert score(three, labels, np.eye(3) * 0.8 + 0.2 / 3) == 1
    lesions = TASKS["medseg_multiclass"]
    first, second = (lesions.classes.index(name) for name in lesions.lesions)
    truth = SimpleNamespace(masks=True, load_targets=lambda: np.array([[[first, first], [0, 0]]]))
    assert score(lesions, truth, ClassMaps(np.array([[[second, 0], [first, 0]]]))) == 2 * 1 / (2 + 2)


def test_the_candidates_of_the_sample_are_options_of_their_kind():
    config = read_sample(Path("mirror"))
    assert config["weights"] == {"mirror": "mirror/weights", "substitutes": ["mobilenetv2_dequantised"]}
    for kind, candidates in CANDIDATES.items():
        for changes in candidates.values():
            check_config(config | {"options": {"audited": {kind: changes}}})
