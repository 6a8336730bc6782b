"""The leaderboard: its order, the study's numbers, and the flags for leaks and shortcuts."""

from types import SimpleNamespace

import pandas as pd
import pytest

from covbench.reporting.balance import Majority
from covbench.reporting.headlines import choose_headline
from covbench.reporting.sections.leaderboard import (
    NOTHING,
    TOP,
    Beside,
    build_leaderboard,
    describe_flags,
    find_study,
    list_lines,
    measure_leaks,
    read_study,
)
from tests.reporting.compare_rows import make_change, make_row, make_score, make_table

NO_STUDY = pd.DataFrame(columns=["task", "architecture", "study_model", "metric", "reported", "our_metric"])
ROWS = [
    ("audited", "a", "deep", 0.80),
    ("audited", "b", "deep", 0.90),
    ("published", "a", "deep", 0.99),
    ("published", "c", "deep", 0.85),
    ("audited", "hog_logistic", "baseline", 0.86),
    ("audited", "majority", "baseline", 0.50),
]


def tabulate(rows):
    summary = make_table(
        "summary",
        [
            make_score(
                protocol, name, mean, mean - 0.05, mean + 0.05, family=family, values=f"{mean - 0.1} {mean + 0.1}"
            )
            for protocol, name, family, mean in rows
        ],
    )
    return summary, summary[["task", "protocol", "architecture", "family"]].assign(seed=0, state="scored", reason="")


def build(rows, study=None, beside=NOTHING):
    return build_leaderboard(*tabulate(rows), "auroc", study or find_study("classification", NO_STUDY, "auroc"), beside)


def test_models_are_ranked_by_the_audited_protocol_and_by_published_where_there_is_no_other():
    table = build(ROWS)
    assert [row[0].text for row in table.rows] == ["b", "hog_logistic", "c", "a", "majority"]
    assert [heading for heading, _ in table.columns] == ["Model", "published", "audited"]
    assert list(table.protocols) == ["published", "audited"]


def test_the_best_networks_and_the_best_baseline_are_shown_first():
    networks = [("audited", f"net{number}", "deep", 0.9 - number / 100) for number in range(TOP + 2)]
    table = build([*networks, *ROWS[4:]])
    shown = [row[0].text for row in table.rows if row[0].facts["top"] == "yes"]
    assert set(shown) == {"net0", "net1", "net2", "net3", "net4", "hog_logistic"}
    assert len(table.rows) == len(networks) + 2


def test_bars_span_what_is_shown_first_and_a_hidden_model_may_lie_left_of_them():
    table = build(ROWS)
    assert table.caption == ("AUROC; sorted by audited; bars span 0.7 to 1; intervals cover patients and training")
    last = table.rows[-1]
    assert (last[0].text, last[0].facts["top"]) == ("majority", "no")
    assert last[2].bar.mean < 0


def test_the_studys_f1_is_not_drawn_on_the_bars_of_another_metric():
    row = {"task": "t", "architecture": "a", "study_model": "a", "metric": "f1", "reported": 0.7}
    rows = [row | {"our_metric": "dice_study_batches"}]
    study = find_study("segmentation", pd.DataFrame(rows), choose_headline("segmentation", pd.DataFrame(rows)))
    assert study.numbers == {"a": 0.7}
    assert not study.comparable


@pytest.mark.parametrize(("difference", "words"), [(0.02, "ours +0.020"), (-0.3, "ours −0.300"), (None, "")])
def test_our_difference_from_the_study_is_shown_below_its_number(difference, words):
    row = {"architecture": "a", "study_model": "a", "metric": "auroc", "reported": 0.97, "our_metric": "auroc"}
    table = build(ROWS, read_study(pd.DataFrame([row | {"difference": difference}]), "auroc"))
    cell = {line[0].text: line[-1] for line in table.rows}["a"]
    assert (cell.text, cell.detail) == ("0.970", words)


def test_a_model_is_shown_with_the_value_of_its_own_name_not_with_that_of_a_row_called_otherwise():
    shared = {"architecture": "mobilenetv2", "metric": "accuracy", "our_metric": "accuracy"}
    rows = [{"study_model": "resnet50", "reported": 0.81}, {"study_model": "mobilenetv2", "reported": 0.91}]
    table = pd.DataFrame([shared | row for row in rows])
    for order in (table, table[::-1]):
        assert read_study(order, "accuracy").numbers == {"mobilenetv2": 0.91}


def test_a_leak_is_flagged_with_its_share_over_seeds_and_a_protocol_without_one_is_not():
    columns = ["protocol", "seed", "class", "leaked_share"]
    rows = [
        ("published", 0, "", 0.4),
        ("published", 1, "", 0.2),
        ("published", 0, "covid", 1.0),
        ("audited", 0, "", 0.0),
    ]
    leaks = measure_leaks(pd.DataFrame(rows, columns=columns))
    assert leaks == {"published": pytest.approx(0.3)}
    ((word, sentence),) = describe_flags(leaks, pd.DataFrame())
    assert word == "leak, published"
    assert sentence.startswith("for 30% of the test images, training has seen")


def test_a_leak_where_nothing_is_known_of_patients_does_not_speak_of_them():
    ((_, sentence),) = describe_flags({"published": 0.3}, pd.DataFrame(), patients=False)
    assert sentence == "for 30% of the test images, training has seen the image or a duplicate."


def test_a_leak_of_few_images_is_not_called_none():
    ((_, sentence),) = describe_flags({"published": 0.002}, pd.DataFrame())
    assert "under 1%" in sentence


def test_a_shortcut_is_flagged_where_the_label_is_predicted_without_the_image():
    columns = ["predictor", "images", "auroc", "auroc_low", "auroc_high", "chance_auroc"]
    rows = [
        ("source", 1200, 0.97, 0.95, 0.98, 0.5),
        ("file", 1200, 0.58, 0.55, 0.61, 0.5),  # above chance, but hardly
        ("file", 44, 0.638, 0.46, 0.78, 0.5),  # too few images to say so
        ("source", 30, None, None, None, None),
    ]
    flags = list(describe_flags({}, pd.DataFrame(rows, columns=columns)))
    words = "the source of an image predicts the class with AUROC 0.970 (0.950–0.980) on 1,200 images (chance: 0.500)."
    assert flags == [("shortcut", words)]


def test_the_repetition_on_the_audited_folds_lies_between_and_has_a_readable_heading():
    table = build([*ROWS, ("published_audited_split", "a", "deep", 0.82)])
    headings = ["Model", "published", "published recipe, audited folds", "audited"]
    assert [heading for heading, _ in table.columns] == headings
    assert list(table.protocols) == headings[1:]


def test_each_seed_is_a_tick_on_the_bar_and_a_number_in_the_tooltip():
    cell = build([("audited", "b", "deep", 0.80)]).rows[0][1]
    assert cell.note == "each seed: 0.7000000000000001 0.9; interval: patients and training"
    low, high = cell.bar.seeds
    assert low < cell.bar.mean < high


def test_a_score_without_interval_says_so_and_its_reason_is_in_the_notes():
    summary, runs = tabulate(ROWS)
    lacking = summary["architecture"].isin(["majority", "a"]) & (summary["protocol"] == "audited")
    summary.loc[lacking, ["low", "high", "covers"]] = [None, None, ""]
    summary.loc[lacking, "reason"] = "no interval: the same in all draws"
    table = build_leaderboard(summary, runs, "auroc", find_study("classification", NO_STUDY, "auroc"))
    assert {row[0].text: row[2].detail for row in table.rows}["majority"] == "no interval"
    assert table.notes == ["a (audited); majority (audited): no interval: the same in all draws"]
    only = build_leaderboard(
        summary[summary["protocol"] == "audited"], runs, "auroc", find_study("classification", NO_STUDY, "auroc")
    )
    assert only.notes == ["a; majority: no interval: the same in all draws"]


def test_intervals_that_cover_patients_alone_are_marked_only_beside_others():
    summary, runs = tabulate(ROWS)
    study = find_study("classification", NO_STUDY, "auroc")
    summary.loc[summary["architecture"] == "a", "covers"] = "patients"
    table = build_leaderboard(summary, runs, "auroc", study)
    assert table.caption.endswith("intervals cover patients and training, or patients alone")
    more = {row[0].text: row[2].more for row in table.rows}
    assert (more["a"], more["b"]) == (["covers patients alone"], [])
    table = build_leaderboard(summary.assign(covers="patients"), runs, "auroc", study)
    assert table.caption.endswith("intervals cover patients, not training")
    assert all(not cell.more for row in table.rows for cell in row)


def test_where_smaller_is_better_the_smallest_comes_first():
    summary, runs = tabulate(ROWS[:2])
    study = find_study("segmentation", NO_STUDY, "false_positive_rate")
    table = build_leaderboard(summary.assign(metric="false_positive_rate"), runs, "false_positive_rate", study)
    assert [row[0].text for row in table.rows] == ["a", "b"]
    assert table.caption.startswith("False-positive rate; smaller is better; sorted by audited")


def test_steps_and_balanced_accuracy_stand_below_the_score():
    results = SimpleNamespace(
        compare={
            "protocols": make_table("protocols", [make_change("a", {"recipe_change": (0.02, -0.03, 0.07)})]),
            "controls": make_table("controls"),
        },
        summary=make_table("summary", [make_score("audited", "a", 0.55, 0.5, 0.6, metric="balanced_accuracy")]),
    )
    lines = list_lines(results, "accuracy", {"audited": Majority("covid", 0.81, 2)})
    shown = ["balanced 0.550", "0.500–0.600", "recipe +0.020", "−0.030 to +0.070"]
    assert lines == {("a", "audited"): shown}
    assert list_lines(results, "accuracy", {}) == {("a", "audited"): shown[2:]}
    rows = build(ROWS, beside=Beside(lines=lines, notes=["81 % are covid"]))
    assert {row[0].text: row[2].more for row in rows.rows}["a"] == shown
    assert rows.notes == ["81 % are covid"]


def test_a_network_that_needs_no_lungs_says_so_below_the_metric_that_was_tested_and_no_other():
    scores = {"altered": 0.9, "altered_low": 0.86, "altered_high": 0.93, "images": 1204}
    flagged = make_row("controls", protocol="audited", architecture="a", metric="auroc", flag="yes", **scores)
    compare = {"protocols": make_table("protocols"), "controls": make_table("controls", [flagged])}
    results = SimpleNamespace(compare=compare, summary=make_table("summary"))
    line = "⚑ needs no lungs: 0.900 (0.860–0.930) without them, 1,204 images"
    assert list_lines(results, "auroc", {}) == {("a", "audited"): [line]}
    assert list_lines(results, "accuracy", {}) == {}


def test_a_contestant_from_elsewhere_is_tagged_and_says_on_its_row_that_leaks_cannot_be_excluded():
    summary, runs = tabulate([*ROWS, ("audited", "foundation", "external", 0.95)])
    words = runs["architecture"].map({"foundation": "40,000 X-rays"}).fillna("")
    study = find_study("classification", NO_STUDY, "auroc")
    first = build_leaderboard(summary, runs.assign(training_data=words), "auroc", study).rows[0][0]
    assert (first.text, first.tag, first.detail) == ("foundation", "external", "leaks cannot be excluded")
    without = build_leaderboard(summary, runs.assign(training_data=""), "auroc", study).rows[0][0]
    assert (without.tag, without.detail) == ("external", "")
