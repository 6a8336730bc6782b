"""The tables of scores: every metric of a task, and its scores per class."""

import pandas as pd

from covbench.reporting.sections.scores import build_class_table, build_metric_table, build_shape_table
from tests.reporting.compare_rows import make_row, make_score, make_table

SCORE = make_score("audited", "a", 0.556, 0.4, 0.7, sd=0.15, values="0.689 0.585 0.393")


def build(*rows, metrics=()):
    summary = make_table("summary", rows)
    runs = summary[["task", "protocol", "architecture", "family"]].drop_duplicates()
    runs = runs.assign(seed=0, state="scored", reason="")
    return build_metric_table(summary, make_table("metrics", metrics), runs, "classification", "auroc")


def read(table, row=0):
    return {heading: cell for (heading, _), cell in zip(table.columns, table.rows[row], strict=True)}


def test_the_scores_of_the_seeds_stand_beside_the_mean_of_the_headline_metric():
    table = build(SCORE, SCORE | {"metric": "accuracy"})
    cells = read(table)
    assert (cells["AUROC"].text, cells["AUROC"].detail) == ("0.556", "±0.150 · 0.400–0.700")
    assert cells["Each seed"].text == "0.689 · 0.585 · 0.393"
    assert "each seed: 0.689 0.585 0.393" in cells["Accuracy"].note


def test_a_score_without_interval_shows_the_reason_in_its_place():
    reason = "no interval: 4 groups of images, at least 6 are needed"
    cell = read(build(SCORE | {"low": None, "high": None, "covers": "", "reason": reason}))["AUROC"]
    assert (cell.detail, cell.more) == ("±0.150", [reason])


def test_the_caption_says_what_the_intervals_cover_and_cells_say_it_where_they_differ():
    exact = SCORE | {"metric": "accuracy", "covers": "patients", "reason": "exact interval of a rate of 1 in 9 groups"}
    table = build(SCORE, exact)
    assert table.caption == "All metrics; intervals cover patients and training, or patients alone"
    cells = read(table)
    assert (cells["AUROC"].more, cells["Accuracy"].more) == ([], ["covers patients alone"])
    assert "exact interval of a rate of 1 in 9 groups" in cells["Accuracy"].note
    assert build(exact).caption == "All metrics; intervals cover patients, not training"


def test_the_score_without_duplicates_has_a_column_only_if_there_are_any():
    assert "Without duplicates" not in read(build(SCORE))
    other = make_score("audited", "b", 0.5)
    table = build(SCORE | {"without_duplicates": 0.512, "duplicates_dropped": 12.3}, other)
    cell = read(table)["Without duplicates"]
    assert (cell.text, cell.detail) == ("0.512", "12.3 images left out")
    assert read(table, 1)["Without duplicates"].text == "–"


def test_an_undefined_score_is_a_dash_with_its_reason():
    keys = {"protocol": "audited", "architecture": "a", "metric": "auroc"}
    table = build(SCORE | {"mean": None, "values": ""}, metrics=[make_row("metrics", **keys, reason="one class only")])
    cell = read(table)["AUROC"]
    assert (cell.text, cell.kind, cell.note) == ("–", "undefined", "one class only")
    assert table.notes == ["AUROC of a (audited): one class only"]


def test_lesion_free_slices_have_columns_of_their_own():
    rows = [SCORE | {"metric": name} for name in ("dice_lesion", "false_positive_rate", "false_positive_volume")]
    summary = make_table("summary", rows)
    runs = summary[["task", "protocol", "architecture", "family"]].head(1).assign(seed=0, state="scored", reason="")
    table = build_metric_table(summary, make_table("metrics"), runs, "segmentation", "dice_lesion")
    headings = [heading for heading, _ in table.columns]
    assert headings[4:] == ["Lesion Dice (F1)", "Each seed", "False-positive rate", "False-positive volume"]


def test_a_class_has_a_precision_of_its_own_not_that_of_the_positive_class():
    row = {"task": "t", "architecture": "a", "protocol": "audited", "class": "normal", "metric": "precision"}
    row |= {"value": 0.5, "low": 0.4, "high": 0.6, "reason": ""}
    table = build_class_table(pd.DataFrame([row]), ("precision", "recall"))
    assert [heading for heading, _ in table.columns] == ["Model", "Protocol", "Class", "Precision"]


def build_shapes(*rows, metrics=()):
    summary = make_table("summary", rows)
    runs = summary[["task", "protocol", "architecture", "family"]].drop_duplicates()
    runs = runs.assign(seed=0, state="scored", reason="")
    return build_shape_table(summary, make_table("metrics", metrics), runs, "dice_lesion")


def test_outlines_and_volumes_have_a_table_of_their_own_with_what_some_run_has():
    rows = [SCORE | {"metric": name} for name in ("dice_lesion", "hd95_lesion", "detection_f1_lesion")]
    rows += [SCORE | {"metric": name, "mean": None} for name in ("assd_lesion_volume", "volume_bias_ml")]
    keys = {"protocol": "audited", "architecture": "a"}
    undefined = [
        make_row("metrics", **keys, metric="assd_lesion_volume", reason="no whole volume"),
        make_row("metrics", **keys, metric="volume_bias_ml", reason="no whole volume"),
    ]
    table = build_shapes(*rows, metrics=undefined)
    headings = [heading for heading, _ in table.columns]
    assert headings == ["Model", "Protocol", "Family", "Seeds", "Lesion HD95, mm", "Lesion detection F1"]
    assert table.notes == ["Lesion ASSD per volume, mm; Lesion volume: bias, ml: no whole volume"]


def test_a_classification_has_no_table_of_outlines():
    assert build_shapes(SCORE) is None


def test_the_notes_of_a_table_are_about_its_own_columns():
    keys = {"protocol": "audited", "architecture": "a", "class": ""}
    hidden = make_row("metrics", **keys, metric="f1_weighted", reason="not predicted")
    assert build(SCORE, metrics=[hidden]).notes == []
