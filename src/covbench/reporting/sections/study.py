"""The study's values beside ours, and the values that others report."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from covbench.evaluation.definitions import label_metric
from covbench.protocols import AUDITED, PUBLISHED
from covbench.reporting.tables import Cell, Table, label_study, number_cell
from covbench.reporting.wording import DASH, is_number, show


@dataclass(frozen=True)
class StudySection:
    """What a page shows about the reported values of one task. None: nothing is reported."""

    beside: Table | None
    literature: Table | None


def build_study_section(published: pd.DataFrame, literature: pd.DataFrame) -> StudySection:
    """published, literature: rows of one task, as the files of these names in results/compare."""
    return StudySection(
        beside=_build_beside(published) if len(published) else None,
        literature=_build_literature(literature) if len(literature) else None,
    )


def _build_beside(published: pd.DataFrame) -> Table:
    protocols = [name for name in (PUBLISHED, AUDITED) if published.get(f"value_{name}", pd.Series()).notna().any()]
    rows = []
    for _, line in published.iterrows():
        cells = [Cell(line["architecture"], line["architecture"]), Cell(label_study(line["metric"]))]
        cells.append(Cell(show(line["reported"]), line["reported"], note=str(line["source"])))
        cells.append(Cell(label_metric(str(line["our_metric"])), note=line["definition"]))
        cells.append(Cell(line["verdict"], note=line["why"], kind=line["verdict"]))
        for name in protocols:
            cells.append(
                number_cell(line[f"value_{name}"], line[f"low_{name}"], line[f"high_{name}"], note=line["note"])
            )
            difference = line[f"difference_{name}"]
            cells.append(
                Cell(f"{difference:+.3f}".replace("-", "−"), float(difference)) if is_number(difference) else Cell(DASH)
            )
        rows.append(cells)
    headings = [
        ("Model", ""),
        ("Study's metric", ""),
        ("Study", "as reported"),
        ("Our metric", "the metric that corresponds to it"),
        ("Verdict", "whether our interval under published contains the reported value"),
    ]
    for name in protocols:
        headings += [
            (f"Ours, {name}", "mean over seeds · 95 % interval"),
            ("Difference", f"ours, {name}, minus the study"),
        ]
    sources = ", ".join(dict.fromkeys(str(source) for source in published["source"]))
    notes = [f"Source of the study's numbers: {sources}."] if sources else []
    notes += [note for note in dict.fromkeys(published["note"]) if note]
    return Table("The study's numbers beside ours", headings, rows, ("Study's metric", "Verdict"), notes)


def _build_literature(literature: pd.DataFrame) -> Table:
    rows = []
    for line in literature.to_dict("records"):
        cells = [Cell(line["model"]), Cell(label_study(line["metric"])), Cell(show(line["value"]), line["value"])]
        rows.append([*cells, Cell(line["protocol"]), Cell(line["note"]), Cell(line["source"])])
    headings = [("Model", ""), ("Metric", "as named by its authors"), ("Value", "as reported"), ("Test set", "")]
    note = "These values come from other test sets and splits. They do not rank the models."
    return Table("What others report", [*headings, ("Note", ""), ("Source", "")], rows, notes=[note])
