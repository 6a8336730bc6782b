"""Tables about the data: what each dataset contains, how it is split, and what is excluded and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from covbench.audit.flow import EXCLUDED, IN_NO_FOLD, STEPS
from covbench.data.folds import count_subjects
from covbench.data.raw_files import show_unread
from covbench.experiment.runs import RunState
from covbench.reporting.gather import Results, find_card, read_index, read_split
from covbench.reporting.places import locate_dataset_card
from covbench.reporting.sections.contradictions import flag_labels
from covbench.reporting.tables import Cell, Table, build_plain_table, link_log, order_protocols
from covbench.reporting.wording import DASH, count, describe_subjects, name_protocol

NOT_PUBLISHED = Cell("not published", note="the dataset publishes no patients", kind="undefined")


@dataclass(frozen=True)
class DatasetSection:
    """What a page shows about a dataset. The index is None before it is made.

    warnings: a word and a sentence per finding about its labels. labels: how they were made. card: path of its card.
    """

    name: str
    title: str
    modality: str
    tasks: Sequence[str]
    licence: str
    citation: str
    homepage: str
    index: pd.DataFrame | None
    warnings: Sequence[tuple[str, str]]
    publishes_patients: bool = True
    labels: str = ""
    card: str = ""

    @property
    def unread(self) -> str:
        """The files of its folder that are not read, by suffix; empty if there are none or it is not indexed."""
        return "" if self.index is None else show_unread(self.index.attrs.get("unread", {}))


def build_dataset_sections(data: Path, tasks: Sequence[str], audit: Mapping[str, pd.DataFrame]) -> list[DatasetSection]:
    """The datasets of these tasks, each of them once.

    Args:
        data: Folder that holds index/.
        tasks: Names of the tasks.
        audit: The tables of audit.tables.AUDIT_TABLES by name.

    Returns:
        A section per dataset.
    """
    grouped: dict[str, list[str]] = {}
    for task in tasks:
        grouped.setdefault(find_card(task)[0], []).append(task)
    datasets = []
    for name, of_dataset in grouped.items():
        card = find_card(of_dataset[0])[1]
        index, warnings = read_index(data, name), flag_labels(audit, of_dataset)
        if card is None:
            datasets.append(DatasetSection(name, name, "", of_dataset, "", "", "", index, warnings))
            continue
        homepage = card.homepage if card.homepage.startswith(("https://", "http://")) else ""
        words = (name, card.title, card.modality, of_dataset, card.licence, card.citation, homepage)
        made = (card.datasheet.labels, locate_dataset_card(name))
        datasets.append(DatasetSection(*words, index, warnings, card.publishes_patients, *made))
    return datasets


def build_dataset_table(datasets: Sequence[DatasetSection], sources: pd.DataFrame) -> Table:
    """A row per dataset: images, patients, groups, sources, exclusions and duplicates within it.

    sources: results/audit/sources.csv, which counts the groups of each task.
    """
    headings = [("Dataset", ""), ("Modality", ""), ("Tasks", ""), ("Images", "rows of the index"), ("Usable", "")]
    headings += [
        ("Patients", "as the authors publish them"),
        ("Groups", "patients with all near-duplicates, of the task with most images"),
        ("Sources", ""),
    ]
    headings += [
        ("Excluded", ""),
        ("Exact duplicates", "images whose bytes, or pixels for a slice, occur earlier in the dataset"),
    ]
    headings += [("Same hash", "images whose perceptual hash occurs earlier in the dataset, without exact duplicates")]
    rows = []
    for dataset in datasets:
        cells = [Cell(dataset.name, dataset.name), Cell(dataset.modality or DASH), Cell(", ".join(dataset.tasks))]
        if dataset.index is None:
            missing = Cell(DASH, note="not indexed yet", kind="undefined")
            rows.append([*cells, *[missing] * 8])
            continue
        counts: list[Cell | int] = [*_count_index(dataset.index)]
        groups = sources.loc[sources["task"].isin(dataset.tasks), "groups"].max() if len(sources) else None
        counts[2:2] = [_count_patients(dataset), Cell(DASH) if pd.isna(groups) else int(groups)]
        rows.append(cells + [n if isinstance(n, Cell) else Cell(f"{n:,}", float(n)) for n in counts])
    return Table("Datasets", headings, rows)


def _count_patients(dataset: DatasetSection) -> Cell | int:
    if dataset.index is None or not dataset.publishes_patients:
        return NOT_PUBLISHED
    return int(dataset.index.loc[~dataset.index["excluded"], "patient_id"].nunique())


def _count_index(index: pd.DataFrame) -> list[int]:
    used = index[~index["excluded"]]
    exact = used["sha256"].duplicated() & (used["sha256"] != "")
    similar = used.loc[~exact, "phash"]
    sources = used.loc[used["source"] != "", "source"].nunique()
    alike = int((similar.duplicated() & (similar != "")).sum())
    return [len(index), len(used), sources, len(index) - len(used), int(exact.sum()), alike]


def build_exclusion_table(datasets: Sequence[DatasetSection]) -> Table:
    """Excluded images, by dataset and reason."""
    rows = []
    for dataset in datasets:
        if dataset.index is None:
            continue
        reasons = dataset.index.loc[dataset.index["excluded"], "reason"].value_counts()
        rows += [
            [Cell(dataset.name, dataset.name), Cell(str(why)), Cell(f"{n:,}", float(n))] for why, n in reasons.items()
        ]
    return Table("Excluded images", [("Dataset", ""), ("Reason", ""), ("Images", "")], rows)


def build_split_table(data: Path, results: Results, tasks: Sequence[str]) -> Table:
    """Images, patients and groups per fold, and what train and test share; a row per task and protocol.

    Args:
        data: Folder that holds splits/.
        results: The results of all tasks, which name the protocols.
        tasks: Names of the tasks to show.

    Returns:
        The table; tasks without a split have no row.
    """
    rows = []
    for task in tasks:
        for protocol in order_protocols(results.runs.loc[results.runs["task"] == task, "protocol"]):
            split = read_split(data, task, protocol)
            card = find_card(task)[1]
            if split is not None:
                cells = _count_folds(split, card is None or card.publishes_patients)
                rows.append([Cell(task, task), Cell(name_protocol(protocol)), *cells])
    headings = [("Task", ""), ("Protocol", "")]
    headings += [(name, "images · patients and groups") for name in ("Train", "Validation", "Test")]
    headings += [("Shared patients", "patients in both train and test")]
    headings += [("Shared groups", "patients with all near-duplicates in both train and test")]
    headings += [("Test images of shared groups", "share of the test fold")]
    return Table("Folds of the lowest seed", headings, rows, ("Protocol",))


def _count_folds(split: pd.DataFrame, published: bool) -> list[Cell]:
    """Count a split. published: whether its patients are, so that they can be counted."""
    cells = []
    for fold in ("train", "val", "test"):
        rows = split[split["fold"] == fold]
        cells.append(Cell(f"{len(rows):,}", float(len(rows)), describe_subjects(**count_subjects(rows, published))))
    train, test = (split[split["fold"] == fold] for fold in ("train", "test"))
    shared, groups = (set(train[name]) & set(test[name]) for name in ("patient_id", "group"))
    share = float(test["group"].isin(groups).mean()) if len(test) else 0.0
    cells.append(Cell(f"{len(shared):,}", float(len(shared))) if published else NOT_PUBLISHED)
    return [*cells, Cell(f"{len(groups):,}", float(len(groups))), Cell(f"{share:.0%}", share)]


def build_flow_table(flow: pd.DataFrame) -> Table:
    """Images of each class from the files that were seen to the folds; a row per protocol and class.

    flow: rows of results/audit/flow.csv of one task. Those of the lowest seed of each protocol are shown.
    """
    rows, notes = [], []
    for protocol in order_protocols(flow["protocol"]):
        shown = flow[flow["protocol"] == protocol]
        shown = shown[shown["seed"] == shown["seed"].min()]
        for name, steps in shown.groupby("class", sort=False):
            words = str(name).replace("_", " ") or "all"
            counts = [_count_step(steps[steps["step"] == step]) for step in STEPS]
            rows.append([Cell(words, words), Cell(name_protocol(protocol)), *counts])
            if name or len(shown["class"].unique()) == 1:
                notes += _list_reasons(steps, EXCLUDED, f"{words}, excluded")
                notes += _list_reasons(steps, IN_NO_FOLD, f"{words}, in no fold under {name_protocol(protocol)}")
    headings = [("Class", ""), ("Protocol", ""), ("Seen", "images that the dataset holds")]
    headings += [("Excluded", "reasons are below the table"), ("Usable", ""), ("In no fold", "usable, but left out")]
    headings += [(word, "images without augmented copies") for word in ("Train", "Validation", "Test")]
    return Table(
        "From the files to the folds of the lowest seed", headings, rows, ("Protocol",), list(dict.fromkeys(notes))
    )


def _list_reasons(steps: pd.DataFrame, step: str, words: str) -> list[str]:
    reasons = [f"{row.images:,} {row.reason}" for row in steps[steps["step"] == step].itertuples()]
    return [f"{words}: {'; '.join(reasons)}."] if reasons else []


def _count_step(rows: pd.DataFrame) -> Cell:
    """Images at a step, with patients, or with groups where none are published. Rows differ in their reason."""
    images = int(rows["images"].sum())
    if len(rows) != 1:
        return Cell(f"{images:,}", float(images))
    patients, groups = rows["patients"].iloc[0], rows["groups"].iloc[0]
    subjects = [(patients, "patient"), (groups, "group")]
    known = [count(int(number), noun) for number, noun in subjects if pd.notna(number)]
    return Cell(f"{images:,}", float(images), next(iter(known), ""))


def build_leak_table(leaks: pd.DataFrame) -> Table:
    """The rows of results/audit/splits.csv; an empty class is shown as `all`."""
    headings = {name: _head_leak(name) for name in leaks.columns}
    shown = leaks.assign(**{"class": leaks["class"].replace("", "all")}) if "class" in leaks else leaks
    return build_plain_table("Leakage per test fold", shown, headings)


def _head_leak(column: str) -> str:
    return column.replace("near_duplicate", "near-duplicate").replace("_", " ").capitalize()


def build_unscored_table(runs: pd.DataFrame) -> Table:
    """Runs that are not scored: a row per task, protocol and model, with the reasons."""
    rows = []
    unscored = runs[runs["state"] != RunState.SCORED]
    for keys, group in unscored.groupby(["task", "protocol", "architecture", "state"], sort=False):
        task, protocol, model, state = map(str, keys)
        seeds = ", ".join(str(seed) for seed in group["seed"])
        why = "; ".join(dict.fromkeys(reason for reason in group["reason"] if reason))
        why = why or ("not run yet" if state == RunState.MISSING else DASH)
        cells = [
            Cell(task, task),
            Cell(name_protocol(protocol)),
            Cell(model),
            Cell(seeds),
            Cell(state, kind=state),
            Cell(why),
        ]
        log = next((log for log in group["log"] if log), "")
        rows.append([*cells, link_log(log, log.lstrip("./"))])
    headings = [(word, "") for word in ("Task", "Protocol", "Model", "Seeds", "State", "Reason")]
    headings.append(("Log", "of the first of these seeds, beside the report where it was made"))
    return Table("Runs that are not scored", headings, rows, ("Task", "Protocol", "State"))


def build_accepted_table(runs: pd.DataFrame) -> Table:
    """Scored runs whose code or packages were edited after training, and why this was declared harmless."""
    accepted = runs[(runs["state"] == RunState.SCORED) & (runs["reason"] != "")]
    names = ("task", "protocol", "architecture", "seed", "reason")
    accepted = accepted.assign(protocol=accepted["protocol"].map(name_protocol))
    rows = [[Cell(str(row[name])) for name in names] for row in accepted.to_dict("records")]
    headings = [(word, "") for word in ("Task", "Protocol", "Model", "Seed", "Accepted edits")]
    return Table("Runs whose edits were declared harmless", headings, rows, ("Task", "Protocol"))
