"""What a task's page says about subgroups."""

import pytest

from covbench.reporting.sections.subgroups import build_subgroup_section
from tests.reporting.compare_rows import make_row, make_table

MODEL = {"protocol": "audited", "fact": "sex", "metric": "auroc"}


@pytest.fixture(scope="module")
def section():
    scores = [
        make_row("subgroups", **MODEL, architecture="vgg16", subgroup="F", images=40, groups=30, mean=0.9),
        make_row("subgroups", **MODEL, architecture="vgg16", subgroup="M", images=60, groups=50, mean=0.7),
        make_row(
            "subgroups",
            **MODEL | {"metric": ""},
            architecture="vgg16",
            subgroup="others",
            images=3,
            groups=3,
            reason="fewer than 20 groups of images: unknown",
        ),
        make_row("subgroups", **MODEL | {"metric": "sensitivity"}, architecture="vgg16", subgroup="F", images=40),
    ]
    gaps = [
        make_row("subgroup_gaps", **MODEL, architecture="vgg16", best="F", worst="M", gap=0.2, low=0.1, high=0.3),
        make_row("subgroup_gaps", **MODEL, architecture="vgg19", best="F", worst="M", gap=0.3, low=-0.1, high=0.7),
        make_row("subgroup_gaps", **MODEL, architecture="majority", best="F", worst="M", gap=0.0),
    ]
    return build_subgroup_section(make_table("subgroups", scores), make_table("subgroup_gaps", gaps), "auroc")


def test_a_sentence_counts_the_models_whose_gap_is_clear(section):
    assert section.readings == [
        "audited, sex: the interval of the gap in AUROC is above 0 for 1 of 2 models. The median gap is 0.250, and the "
        "worst subgroup is most often M."
    ]


def test_the_largest_gap_comes_first_and_names_both_subgroups(section):
    first = section.gaps.rows[0]
    assert [cell.text for cell in first] == ["vgg19", "audited", "sex", "F", "M", "+0.300"]


def test_every_subgroup_is_shown_with_the_reason_where_it_has_no_score(section):
    assert [row[3].text for row in section.scores.rows] == ["F", "M", "others"]
    assert "sex, others: fewer than 20 groups of images: unknown" in section.scores.notes


def test_without_a_fact_there_is_no_table():
    empty = build_subgroup_section(make_table("subgroups"), make_table("subgroup_gaps"), "auroc")
    assert (empty.readings, empty.gaps, empty.scores) == ([], None, None)
