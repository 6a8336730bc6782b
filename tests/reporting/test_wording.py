"""Names and short sentences of the report."""

import pytest

from covbench.reporting.wording import (
    describe_size,
    name_metric,
    name_protocol,
    read_model,
    show_average,
    show_signed,
)
from tests.reporting.compare_rows import make_score, make_table

SCORE = make_score("audited", "a", 0.556, 0.4, 0.7, values="0.689 0.585 0.393")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {},
            "AUROC 0.556 (95 % interval 0.400–0.700, which covers patients and training). Each seed: 0.689, 0.585, "
            "0.393.",
        ),
        (
            {"seeds": 1, "covers": "patients", "reason": "1 seed is too few to measure the noise of training"},
            "AUROC 0.556 (95 % interval 0.400–0.700, which covers patients). 1 seed is too few to measure the noise of "
            "training.",
        ),
        (
            {"low": None, "high": None, "seeds": 1, "reason": "no interval: 4 groups of images, at least 6 are needed"},
            "AUROC 0.556. No interval: 4 groups of images, at least 6 are needed.",
        ),
        ({"mean": None}, ""),
    ],
)
def test_a_models_sentence_has_its_score_what_the_interval_covers_and_each_seed(changes, sentence):
    assert read_model(make_table("summary", [SCORE | changes]), "auroc") == sentence


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ((40, 12, 11), "40 images of 12 patients in 11 groups"),
        ((40, None, 11), "40 images in 11 groups (patients not published)"),
        ((1, float("nan"), 1.0), "1 image in 1 group (patients not published)"),
    ],
)
def test_a_size_names_patients_only_where_they_are_published(sizes, words):
    assert describe_size(*sizes) == words


def test_a_difference_has_a_true_minus_sign_and_no_interval_unless_both_ends_are_there():
    assert show_signed(-0.1, -0.2, 0.05) == "−0.100 (−0.200 to +0.050)"
    assert show_signed(0.1, None, 0.05) == "+0.100"
    assert show_signed(float("nan"), 0.0, 0.0) == "–"


def test_an_average_of_things_has_a_decimal_only_if_it_is_none_of_them():
    assert [show_average(value) for value in (12.0, 0.33, 1234.5)] == ["12", "0.3", "1,234.5"]


def test_names_within_a_sentence():
    assert [name_metric(name) for name in ("accuracy", "auroc", "dice_lesion")] == [
        "accuracy",
        "AUROC",
        "lesion Dice (F1)",
    ]
    assert [name_protocol(name) for name in ("published_audited_split", "audited")] == [
        "published recipe, audited folds",
        "audited",
    ]
