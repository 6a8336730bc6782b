"""The leaderboard: its order, the study's numbers, and the flags for leaks and shortcuts."""

import pandas as pd
import pytest

from covbench.reporting.headlines import choose_headline
from covbench.reporting.sections.leaderboard import (
    TOP,
    build_leaderboard,
    describe_flags,
    find_study,
    measure_leaks,
    read_study,
)

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
    summary = pd.DataFrame(rows, columns=["protocol", "architecture", "family", "mean"])
    summary = summary.assign(task="t", metric="auroc", low=summary["mean"] - 0.05, high=summary["mean"] + 0.05)
    return summary, summary[["task", "protocol", "architecture", "family"]].assign(seed=0, state="scored", reason="")


def build(rows, study=None):
    return build_leaderboard(*tabulate(rows), "auroc", study or find_study("classification", NO_STUDY, "auroc"))


def test_models_are_ranked_by_the_audited_protocol_and_by_published_where_there_is_no_other():
    table = build(ROWS)
    assert [row[0].text for row in table.rows] == ["b", "hog_logistic", "c", "a", "majority"]
    assert [heading for heading, _ in table.columns] == ["Model", "audited", "published"]
    assert list(table.protocols) == ["audited", "published"]


def test_the_best_networks_and_the_best_baseline_are_shown_first():
    networks = [("audited", f"net{number}", "deep", 0.9 - number / 100) for number in range(TOP + 2)]
    table = build([*networks, *ROWS[4:]])
    shown = [row[0].text for row in table.rows if row[0].facts["top"] == "yes"]
    assert set(shown) == {"net0", "net1", "net2", "net3", "net4", "hog_logistic"}
    assert len(table.rows) == len(networks) + 2


def test_bars_span_what_is_shown_first_and_a_hidden_model_may_lie_left_of_them():
    table = build(ROWS)
    assert table.caption == "AUROC; bars span 0.7 to 1"
    last = table.rows[-1]
    assert (last[0].text, last[0].facts["top"]) == ("majority", "no")
    assert last[1].bar.mean < 0


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


def test_a_leak_of_few_images_is_not_called_none():
    ((_, sentence),) = describe_flags({"published": 0.002}, pd.DataFrame())
    assert "under 1%" in sentence


def test_a_shortcut_is_flagged_where_the_label_is_predicted_without_the_image():
    columns = ["predictor", "auroc", "chance_auroc"]
    rows = [("source", 0.97, 0.5), ("file", 0.58, 0.5), ("source", None, None)]
    flags = list(describe_flags({}, pd.DataFrame(rows, columns=columns)))
    assert flags == [("shortcut", "the source of an image predicts the class with AUROC 0.970 (chance: 0.500).")]
