"""Where most test images belong to one class, balanced accuracy and the share of the class are named."""

import pytest

from covbench.reporting.balance import Majority, accompany, find_majorities, list_balanced_lines, read_majorities
from tests.reporting.compare_rows import make_row, make_score, make_table


def count_images(protocol, covid, normal):
    keys = {"protocol": protocol, "architecture": "majority", "metric": "support"}
    return [
        make_row("metrics", **keys, **{"class": name}, value=value)
        for name, value in (("covid", covid), ("normal", normal))
    ]


def find(*rows):
    return find_majorities(make_table("metrics", [row for several in rows for row in several]))


def test_the_share_is_that_of_all_seeds_together():
    assert find(count_images("audited", 90, 10), count_images("audited", 72, 28)) == {
        "audited": Majority("covid", 0.81, 2)
    }


@pytest.mark.parametrize(("covid", "found"), [(60, {}), (61, {"audited": Majority("covid", 0.61, 2)})])
def test_accuracy_misleads_beyond_three_fifths(covid, found):
    assert find(count_images("audited", covid, 100 - covid)) == found


def test_a_sentence_says_what_the_constant_answer_scores():
    covid, other = Majority("covid", 0.81, 2), Majority("non_covid", 0.7, 3)
    assert read_majorities({"published": covid, "published_audited_split": other, "audited": covid}) == [
        "published and audited: 81 % of the test images are covid. Always answering covid has accuracy 0.81 and "
        "balanced accuracy 0.50.",
        "published recipe, audited folds: 70 % of the test images are non covid. Always answering non covid has "
        "accuracy 0.70 and balanced accuracy 0.33.",
    ]


def test_only_accuracy_is_accompanied_and_only_where_it_misleads():
    assert accompany("accuracy", {"audited": Majority("covid", 0.81, 2)}) == ["accuracy", "balanced_accuracy"]
    assert accompany("accuracy", {}) == ["accuracy"]
    assert accompany("auroc", {"audited": Majority("covid", 0.81, 2)}) == ["auroc"]


def test_balanced_accuracy_is_shown_with_its_interval_if_it_has_one():
    scores = [make_score("audited", "a", 0.549, 0.5, 0.6), make_score("audited", "majority", 0.5)]
    rows = make_table("summary", [row | {"metric": "balanced_accuracy"} for row in scores])
    assert list_balanced_lines(rows) == {
        ("a", "audited"): ["balanced 0.549", "0.500–0.600"],
        ("majority", "audited"): ["balanced 0.500"],
    }
