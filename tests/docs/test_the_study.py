"""The page on the study says what its tables say."""

import re

from tests.docs.reading import ROOT
from tests.evaluation.comparison.test_counterparts import FINDINGS, VALUES

PAGE = (ROOT / "docs" / "explanation" / "the-study.md").read_text(encoding="utf-8")


def test_the_page_counts_the_values_of_each_finding_as_the_table_does():
    shown = {
        row[0]: (int(row[1]), int(row[2])) for row in re.findall(r"^\| ([A-Z][^|]+) \| (\d+) \| (\d+) \|$", PAGE, re.M)
    }
    judged = FINDINGS.assign(untestable=FINDINGS["values"].where(FINDINGS["untestable"] == "yes", 0))
    counts = judged.groupby("finding", sort=False)[["values", "untestable"]].sum()
    assert shown == {name: tuple(row) for name, row in zip(counts.index, counts.to_numpy().tolist(), strict=True)}


def test_the_page_says_how_many_values_are_untestable():
    untestable = int((VALUES["untestable"] != "").sum())
    assert f"{untestable} values are untestable for one reason or more. The other {300 - untestable} have" in PAGE


def test_the_page_names_every_row_that_does_not_fit_and_every_row_with_one_result():
    shown = re.sub(r"[^a-z0-9_]", "", PAGE.lower())
    for finding in ("Does not fit its confusion matrix", "Rows with one result"):
        for models in FINDINGS[FINDINGS["finding"] == finding]["models"]:
            for model in models.replace("seresnet101", "seresnext101").split():
                decoder, _, encoder = model.partition("_")
                assert (f"{decoder}with{encoder}" if encoder else decoder) in shown


def test_the_page_has_as_many_f1_below_an_empty_mask_as_the_tables():
    f1 = VALUES.query("task == 'zenodo_infection' and metric == 'f1'")["value"]
    assert f"Of the {len(f1)} published F1, {(f1 < 0.975).sum()} are below that" in PAGE


def test_no_page_blames_the_study_for_flaws():
    pages = [ROOT / "README.md", ROOT / "CITATION.cff", ROOT / "config" / "README.md"]
    pages += [*(ROOT / "docs").rglob("*.md"), ROOT / "src" / "covbench" / "protocols.py"]
    said = [
        (page.name, word)
        for page in pages
        for word in ("flaw", "wrongly", "must have done")
        if word in page.read_text(encoding="utf-8").lower()
    ]
    assert said == []
