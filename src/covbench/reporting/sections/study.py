"""What the study's values are, these values beside ours, and the values that others report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from covbench.evaluation.definitions import label_metric
from covbench.protocols import AUDITED, PUBLISHED, PUBLISHED_AUDITED_SPLIT
from covbench.reporting.tables import Cell, Table, label_study, number_cell, signed_cell
from covbench.reporting.wording import count, name_protocol, show


@dataclass(frozen=True)
class StudySection:
    """What a page shows about the reported values of one task. None: nothing is reported."""

    beside: Table | None
    literature: Table | None


@dataclass(frozen=True)
class FindingsSection:
    """What the first page says of the study's values. findings: None if no planned task is one of the study's."""

    reading: str
    findings: Table | None


def build_study_section(published: pd.DataFrame, literature: pd.DataFrame) -> StudySection:
    """published, literature: rows of one task, as the files of these names in results/compare."""
    return StudySection(
        beside=_build_beside(published) if len(published) else None,
        literature=_build_literature(literature) if len(literature) else None,
    )


def build_findings_section(findings: pd.DataFrame, published: pd.DataFrame) -> FindingsSection:
    """findings, published: rows of the planned tasks, as the files of these names in results/compare."""
    if findings.empty:
        return FindingsSection("", None)
    judged = published["verdict"].value_counts()
    verdicts = ", ".join(f"{judged[verdict]} {verdict}" for verdict in judged.index)
    kinds = ", ".join(f"{_uncapitalize(name)} ({number})" for name, number in _count_values(findings))
    reading = (
        f"The study reports {count(len(published), 'value')} for the planned tasks. What they are, by number of values "
        f"(a value may be in several lines): {kinds}. Verdicts on them: {verdicts}."
    )
    return FindingsSection(reading, _tabulate_findings(findings))


def _count_values(findings: pd.DataFrame) -> Sequence[tuple[str, int]]:
    return [(str(name), int(rows["values"].sum())) for name, rows in findings.groupby("finding", sort=False)]


def _uncapitalize(text: str) -> str:
    return text[:1].lower() + text[1:]


def _tabulate_findings(findings: pd.DataFrame) -> Table:
    rows = [
        [
            Cell(line["finding"], line["finding"]),
            Cell(line["task"]),
            _name_rows(line["models"].split()),
            Cell(", ".join(label_study(metric) for metric in line["metrics"].split())),
            Cell(str(line["values"]), float(line["values"])),
            Cell("untestable" if line["untestable"] else ""),
            Cell(line["words"], detail=line["evidence"]),
        ]
        for line in findings.to_dict("records")
    ]
    headings = [
        ("Finding", ""),
        ("Task", ""),
        ("Rows", "as the study names them"),
        ("Metrics", "as the study names them"),
        ("Values", "number of values"),
        ("Verdict", "untestable: the value has no true counterpart of ours"),
        ("What was found", "below it, the file and cell of the study that show it"),
    ]
    return Table("What the study's numbers are", headings, rows, ("Finding", "Task", "Verdict"))


def _name_rows(models: Sequence[str]) -> Cell:
    """Up to four names, or their number with the names as tooltip."""
    names = ", ".join(models)
    return Cell(names, names) if len(models) <= 4 else Cell(count(len(models), "row"), names, note=names)


def _build_beside(published: pd.DataFrame) -> Table:
    protocols = [
        name
        for name in (PUBLISHED, PUBLISHED_AUDITED_SPLIT, AUDITED)
        if published.get(f"value_{name}", pd.Series()).notna().any()
    ]
    empty = published["empty_mask"].notna().any()
    rows = []
    for _, line in published.iterrows():
        set_beside = "" if line["study_model"] == line["architecture"] else f"beside {line['architecture']}"
        cells = [Cell(line["study_model"], line["study_model"], set_beside), Cell(label_study(line["metric"]))]
        cells.append(Cell(show(line["reported"]), line["reported"], note=f"{line['source']}; {line['images']}"))
        cells.append(Cell(label_metric(str(line["our_metric"])), None, line["class"], line["definition"]))
        cells.append(Cell(line["verdict"], note=line["why"], kind=line["verdict"]))
        cells.append(signed_cell(line["difference"], line["difference_low"], line["difference_high"]))
        cells += [number_cell(line["empty_mask"])] if empty else []
        cells += [
            number_cell(line[f"value_{name}"], line[f"low_{name}"], line[f"high_{name}"], note=line["note"])
            for name in protocols
        ]
        rows.append(cells)
    headings = [
        ("Model", "as the study names it"),
        ("Study's metric", ""),
        ("Study", "as reported"),
        ("Our metric", "the metric that corresponds to it, and the class that it speaks of"),
        ("Verdict", "whether the interval of the difference holds 0"),
        ("Difference", f"ours under {PUBLISHED} minus the study · 95 % interval with the errors of both"),
        *([("Empty mask", "what a mask without any lesion scores in the same test folds")] if empty else []),
        *[(f"Ours, {name_protocol(name)}", "mean over seeds · 95 % interval") for name in protocols],
    ]
    return Table(
        "The study's numbers beside ours", headings, rows, ("Study's metric", "Verdict"), _list_notes(published)
    )


def _list_notes(published: pd.DataFrame) -> list[str]:
    sources = ", ".join(dict.fromkeys(str(source) for source in published["source"]))
    reasons = published.loc[published["verdict"] == "untestable", "why"]
    notes = [f"Source of the study's numbers: {sources}."] if sources else []
    return [*notes, *(note for note in dict.fromkeys([*published["note"], *reasons]) if note)]


def _build_literature(literature: pd.DataFrame) -> Table:
    rows = []
    for line in literature.to_dict("records"):
        cells = [Cell(line["model"]), Cell(label_study(line["metric"])), Cell(show(line["value"]), line["value"])]
        rows.append([*cells, Cell(line["protocol"]), Cell(line["note"]), Cell(line["source"])])
    headings = [("Model", ""), ("Metric", "as named by its authors"), ("Value", "as reported"), ("Test set", "")]
    note = "These values come from other test sets and splits. They do not rank the models."
    return Table("What others report", [*headings, ("Note", ""), ("Source", "")], rows, notes=[note])
