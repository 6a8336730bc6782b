"""What the split alone changes, and what the recipe changes: cells, sentences and table."""

import pytest

from covbench.reporting.steps import build_step_table, list_step_lines, read_steps
from tests.reporting.compare_rows import make_change, make_table

SPLIT, RECIPE, BOTH = (-0.1, -0.15, -0.05), (0.02, -0.03, 0.07), (-0.08, -0.2, 0.04)
MEANS = {"mean_published": 0.95, "low_published": 0.9, "high_published": 0.97}
MEANS |= {"mean_published_audited_split": 0.85, "mean_audited": 0.87}
STORY = {"split_change": SPLIT, "recipe_change": RECIPE, "change": BOTH}


def table(*rows):
    return make_table("protocols", rows)


def test_each_step_is_shown_at_the_protocol_that_it_leads_to():
    assert list_step_lines(table(make_change("vgg16", STORY)), "accuracy") == {
        ("vgg16", "published_audited_split"): ["split alone −0.100", "−0.150 to −0.050"],
        ("vgg16", "audited"): ["recipe +0.020", "−0.030 to +0.070"],
    }


def test_without_the_protocol_between_both_steps_are_one():
    change = make_change("vgg16", {"change": (-0.08, None, None)})
    assert list_step_lines(table(change), "accuracy") == {("vgg16", "audited"): ["split and recipe −0.080"]}
    assert read_steps(table(change), ["accuracy"]) == ["The split and recipe change accuracy of vgg16 by −0.080."]


def test_a_sentence_names_the_only_network():
    baseline = make_change("majority", STORY, family="baseline")
    assert read_steps(table(make_change("vgg16", STORY), baseline), ["accuracy"]) == [
        "The split alone changes accuracy of vgg16 by −0.100 (−0.150 to −0.050).",
        "The recipe changes accuracy of vgg16 by +0.020 (−0.030 to +0.070).",
    ]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ((-0.2, -0.3, -0.1), "by −0.150 (median of 2 networks). The interval lies below 0 for 2."),
        ((0.2, 0.1, 0.3), "by +0.050 (median of 2 networks). The interval lies below 0 for 1 and lies above 0 for 1."),
        ((0.0, -0.1, 0.1), "by −0.050 (median of 2 networks). The interval lies below 0 for 1 and contains 0 for 1."),
        ((0.0, None, None), "by −0.050 (median of 2 networks). The interval lies below 0 for 1 and is missing for 1."),
    ],
)
def test_a_sentence_about_networks_counts_on_which_side_of_0_the_intervals_lie(other, words):
    rows = table(*(make_change(name, {"split_change": step}) for name, step in (("a", SPLIT), ("b", other))))
    assert read_steps(rows, ["accuracy"]) == [f"The split alone changes accuracy {words}"]


def test_balanced_accuracy_gets_sentences_of_its_own():
    rows = table(make_change("a", {"change": BOTH}), make_change("a", {"change": BOTH}, metric="balanced_accuracy"))
    assert [sentence.split(" of a")[0] for sentence in read_steps(rows, ["accuracy", "balanced_accuracy"])] == [
        "The split and recipe change accuracy",
        "The split and recipe change balanced accuracy",
    ]


def test_the_table_reads_from_published_over_the_split_and_the_recipe_to_audited():
    row = make_change("vgg16", STORY, covers="patients", reason="1 seed is too few", **MEANS)
    shown = build_step_table(table(row), ["accuracy"])
    assert [heading for heading, _ in shown.columns][2:8] == [
        "published",
        "Change: split alone",
        "published recipe, audited folds",
        "Change: recipe",
        "audited",
        "Change: split and recipe",
    ]
    cells = shown.rows[0]
    assert [(cell.text, cell.detail) for cell in cells[2:5]] == [
        ("0.950", "0.900–0.970"),
        ("−0.100", "−0.150 to −0.050"),
        ("0.850", ""),
    ]
    assert [cell.text for cell in cells[-2:]] == ["patients", "1 seed is too few"]


def test_models_are_sorted_by_their_audited_score_and_keep_their_metrics_together():
    scores = {
        ("a", "accuracy"): 0.7,
        ("b", "accuracy"): 0.9,
        ("a", "balanced_accuracy"): 0.95,
        ("b", "balanced_accuracy"): 0.5,
    }
    rows = [
        make_change(name, {"change": BOTH}, metric=metric, mean_audited=mean) for (name, metric), mean in scores.items()
    ]
    shown = build_step_table(table(*rows), ["accuracy", "balanced_accuracy"])
    assert [(row[0].text, row[1].text) for row in shown.rows] == [
        ("b", "Accuracy"),
        ("b", "Balanced accuracy"),
        ("a", "Accuracy"),
        ("a", "Balanced accuracy"),
    ]


def test_a_step_without_interval_says_so_with_the_reason_in_the_tooltip():
    row = make_change(
        "a", {"change": (-0.08, None, None)}, reason="no interval: the same in all draws", mean_audited=0.9
    )
    (shown,) = build_step_table(table(row), ["accuracy"]).rows
    assert [(cell.detail, cell.note) for cell in shown if cell.text == "−0.080"] == [
        ("no interval", "no interval: the same in all draws")
    ]


def test_a_protocol_that_was_not_run_has_no_column_and_no_model_no_table():
    row = make_change("vgg16", {"change": BOTH}, mean_published=0.95, mean_audited=0.87)
    headings = [heading for heading, _ in build_step_table(table(row), ["accuracy"]).columns]
    assert headings[2:5] == ["published", "audited", "Change: split and recipe"]
    assert build_step_table(table(row), ["auroc"]) is None
