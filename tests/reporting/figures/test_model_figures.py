"""Figures that compare models: what they count, and what their sentences say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covbench.reporting.figures.comparison_figures import draw_comparisons, draw_matrices
from covbench.reporting.figures.figure_cache import FigureCache
from covbench.reporting.figures.model_figures import bin_confidence, draw_cost_front, find_error, find_front
from covbench.reporting.gather import Results
from covbench.schema import SEGMENTATION, Run, Task
from tests.reporting.compare_rows import make_row, make_score, make_table
from tests.run_records import score_record


def test_a_perfectly_calibrated_model_has_no_calibration_error() -> None:
    binned = bin_confidence(np.repeat([0.5, 1.0], 4), np.array([1, 0, 1, 0, 1, 1, 1, 1], bool))
    assert binned.to_numpy().tolist() == [[0.5, 0.5, 4], [1.0, 1.0, 4]]
    assert find_error(binned) == 0


def test_the_calibration_error_weighs_each_gap_by_its_images() -> None:
    binned = bin_confidence(np.array([0.95, 0.95, 0.95, 0.65]), np.array([True, True, False, True]))
    assert find_error(binned) == pytest.approx((3 * (0.95 - 2 / 3) + (1 - 0.65)) / 4)


def test_the_front_holds_what_nothing_cheaper_beats() -> None:
    assert find_front([10, 5, 20, 20, 30], [0.8, 0.7, 0.9, 0.85, 0.9]) == [1, 0, 2]


def test_costs_within_a_factor_of_ten_have_labelled_ticks() -> None:
    models = pd.DataFrame({"model": ["a", "b"], "seconds": [22.0, 34.0], "mean": 0.8, "low": 0.7, "high": 0.9})
    (axes,) = draw_cost_front(models, "AUROC").axes
    low, high = axes.get_xlim()
    shown = [
        label.get_text()
        for tick, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if low < tick < high
    ]
    assert len(shown) > 1


def test_the_matrix_averages_models_and_names_the_lowest_external_score(tmp_path: Path) -> None:
    rows = [
        ("covid_ct", "audited", "a", "sarscov2_ct", "auroc", 0.8, 0.6),
        ("covid_ct", "audited", "b", "sarscov2_ct", "auroc", 0.6, 0.4),
        ("sarscov2_ct", "audited", "a", "covid_ct", "auroc", 0.9, np.nan),
    ]
    columns = ["task", "protocol", "architecture", "tested_on", "metric", "internal", "external"]
    figures = draw_matrices(FigureCache(tmp_path, tmp_path / "kept"), pd.DataFrame(rows, columns=columns))
    assert figures["segmentation"] == []
    (figure,) = figures["classification"]
    assert figure.reading == "Lowest external score: covid_ct models on sarscov2_ct, 0.500 (mean of 2 models)."
    numbers = pd.read_csv(tmp_path / "figures" / "external_auroc_audited.csv")
    assert numbers[["trained_on", "tested_on", "value", "models"]].to_numpy().tolist() == [
        ["covid_ct", "covid_ct", 0.7, 2],
        ["covid_ct", "sarscov2_ct", 0.5, 2],
    ]
    assert [word for word, _ in figure.files] == ["SVG", "PNG", "CSV"]


def draw_lesions(folder: Path, cases: pd.DataFrame) -> list[pd.DataFrame]:
    """The numbers of the figures of volumes of one scored model."""
    (folder / "kept").mkdir()
    names = {"volume_bias_ml": 2.0, "volume_low_ml": -4.0, "volume_high_ml": 8.0}
    rows = [make_score("audited", "unet_small", mean, mean - 1, mean + 1, metric=name) for name, mean in names.items()]
    tables = {"summary": make_table("summary", rows)}
    runs = make_table("runs", [make_row("runs", protocol="audited", architecture="unet_small", state="missing")])
    scored = score_record(Run("t", "audited", "unet_small", 3), {}, cases)
    results = Results(runs, tables, make_table("published"), {}, (scored,), pd.DataFrame())
    task = Task("t", SEGMENTATION, ("background", "lesion"), lesions=("lesion",))
    figures = list(draw_comparisons(FigureCache(folder / "report", folder / "kept"), task, results))
    assert [figure.reading for figure in figures] == ["Smallest bias: unet_small, +2.0 ml."] * len(figures)
    return [pd.read_csv((folder / "report" / figure.source).with_suffix(".csv")) for figure in figures]


def test_the_figure_of_volumes_shows_each_whole_volume_once(tmp_path: Path) -> None:
    cases = pd.DataFrame({"patient_id": list("ppq"), "true_ml": [10, np.nan, 20], "predicted_ml": [14, np.nan, 20]})
    (numbers,) = draw_lesions(tmp_path, cases)
    shown = numbers[["patient_id", "seed", "mean", "difference"]].to_dict("list")
    assert shown == {"patient_id": ["p", "q"], "seed": [3, 3], "mean": [12, 20], "difference": [4, 0]}


def test_there_is_no_figure_of_volumes_without_a_known_spacing(tmp_path: Path) -> None:
    cases = pd.DataFrame({"patient_id": ["p"], "true_ml": [np.nan], "predicted_ml": [np.nan]})
    assert draw_lesions(tmp_path, cases) == []
