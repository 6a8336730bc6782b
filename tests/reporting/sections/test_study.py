"""What the report says of the study's values: counts and lists that come from the tables, never from the templates."""

import pandas as pd
import pytest

from covbench.reporting.sections.study import build_findings_section, build_study_section
from covbench.schema import COMPARE_TABLES
from tests.evaluation.comparison.test_counterparts import FINDINGS, VALUES
from tests.evaluation.comparison.test_replication import compare, summarize

JUDGED = pd.DataFrame({"verdict": ["untestable"] * 99 + ["differs"] * 201})


def test_the_first_page_counts_the_values_of_each_finding_from_the_table():
    section = build_findings_section(FINDINGS, JUDGED)
    assert section.reading.startswith("The study reports 300 values for the planned tasks.")
    for finding, number in FINDINGS.groupby("finding")["values"].sum().items():
        assert f"{finding[:1].lower()}{finding[1:]} ({number})" in section.reading
    assert section.reading.endswith("Verdicts on them: 201 differs, 99 untestable.")


def test_every_finding_is_listed_with_its_rows_and_its_evidence():
    table = build_findings_section(FINDINGS, JUDGED).findings
    assert len(table.rows) == len(FINDINGS)
    cells = {(row[0].text, row[1].text, row[2].text): row for row in table.rows}
    row = cells["Another network", "radiography", "resnet50"]
    assert (row[4].text, row[5].text) == ("4", "untestable")
    assert "cell 104" in row[6].detail


def test_the_section_shrinks_with_the_planned_tasks_and_is_left_out_without_any():
    one = FINDINGS[FINDINGS["task"] == "sarscov2_ct"]
    section = build_findings_section(one, JUDGED.iloc[:36])
    assert "36 values" in section.reading
    assert "background" not in section.reading
    assert build_findings_section(FINDINGS.iloc[:0], JUDGED).findings is None


@pytest.fixture
def beside():
    summary = summarize(
        ("zenodo_infection", "published", "unet_seresnext101", "dice_background", 0.98),
        ("zenodo_infection", "published", "unet_seresnext101", "dice_background_empty", 0.975),
    )
    published = compare("zenodo_infection", "unet_seresnet101", summary, 20).reset_index()
    return build_study_section(published, pd.DataFrame(columns=list(COMPARE_TABLES["literature"]))).beside


def test_a_value_stands_beside_its_counterpart_with_verdict_interval_and_empty_mask(beside):
    headings = [heading for heading, _ in beside.columns]
    assert headings[:5] == ["Model", "Study's metric", "Study", "Our metric", "Verdict"]
    assert headings[5:] == ["Difference", "Empty mask", "Ours, published"]
    f1 = next(row for row in beside.rows if row[1].text == "F1")
    assert (f1[0].text, f1[0].detail) == ("unet_seresnet101", "beside unet_seresnext101")
    assert (f1[3].detail, f1[4].text, f1[6].text) == ("background", "untestable", "0.975")
    assert f1[5].text == "+0.018"
    assert " to " in f1[5].detail


def test_the_reasons_of_untestable_values_stand_below_the_table(beside):
    assert any("0.92727" in note for note in beside.notes)


def test_no_word_of_the_findings_speaks_of_intent():
    said = " ".join([*FINDINGS["words"], *FINDINGS["finding"], *VALUES["note"]]).lower()
    for word in ("wrong", "mistake", "flaw", "error", "mislead", "fake", "claim", "hide", "cheat", "fail"):
        assert word not in said
