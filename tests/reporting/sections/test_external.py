"""What a page says about external validation."""

import pandas as pd

from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.reporting.sections.external import build_external_section


def row(architecture, external, drop, low, reason="", **changes):
    values = dict.fromkeys(COMPARE_TABLES["external"])
    values |= {"task": "covid_ct", "protocol": "audited", "architecture": architecture, "tested_on": "sarscov2_ct"}
    values |= {
        "metric": "auroc",
        "seeds": 3,
        "internal": 0.9,
        "internal_low": 0.8,
        "internal_high": 0.95,
        "reason": reason,
    }
    values |= {"external": external, "external_low": 0.5, "external_high": 0.7}
    values |= {"drop": drop, "drop_low": low, "drop_high": 0.5}
    return values | {"images": 1200, "patients": 300, "groups": 290, "duplicates": 1, "removed": 7} | changes


def test_a_pair_of_datasets_is_read_in_a_sentence():
    section = build_external_section(pd.DataFrame([row("vgg16", 0.6, 0.3, 0.1), row("xception", 0.8, 0.1, -0.1)]))
    (reading,) = section.readings
    assert reading == (
        "covid_ct models on sarscov2_ct: 1,200 images of 300 patients in 290 groups, 7 left out (1 duplicate). "
        "Median drop in AUROC: audited +0.200 (interval above 0 for 1 of 2 models)."
    )


def test_patients_that_are_not_published_are_not_counted():
    section = build_external_section(pd.DataFrame([row("vgg16", 0.6, 0.3, 0.1, patients=None)]))
    assert "1,200 images in 290 groups (patients not published), 7 left out" in section.readings[0]


def test_models_are_sorted_by_external_score_and_other_metrics_are_left_to_the_file():
    rows = [row("vgg16", 0.6, 0.3, 0.1), row("xception", 0.8, 0.1, -0.1)]
    table = build_external_section(pd.DataFrame([*rows, row("vgg16", 0.5, 0.2, 0.1, metric="accuracy")])).table
    assert [cells[0].text for cells in table.rows] == ["xception", "vgg16"]
    assert table.rows[0][-1].text == "+0.100"


def test_a_model_without_a_score_is_named_with_its_reason():
    nothing = dict.fromkeys(("internal", "images", "drop_high"))
    section = build_external_section(pd.DataFrame([row("vgg16", None, None, None, "not tested there yet", **nothing)]))
    assert "not tested there yet" in section.readings[0]
    assert any("vgg16, covid_ct on sarscov2_ct, audited: not tested there yet" in note for note in section.table.notes)


def test_without_a_fitting_pair_there_is_nothing_to_show():
    assert build_external_section(pd.DataFrame(columns=list(COMPARE_TABLES["external"]))).table is None


def test_models_with_the_same_reason_share_a_note_and_the_caption_says_what_intervals_cover():
    few = "1 seed is too few to measure the noise of training"
    rows = [row(name, 0.6, 0.3, 0.1, few, covers="patients") for name in ("vgg16", "xception")]
    table = build_external_section(pd.DataFrame(rows)).table
    assert table.caption == "External validation; intervals cover patients, not training"
    where = "covid_ct on sarscov2_ct, audited"
    assert table.notes[0] == f"vgg16, {where}; xception, {where}: {few}"
