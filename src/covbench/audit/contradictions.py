"""Find labels that contradict each other, and name the rows that an audited split drops from an authors' split.

Two labels contradict each other if duplicates have different ones, or if a patient has images of several classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from covbench.audit.duplicates import pair_both_ways
from covbench.audit.groups import group_images
from covbench.audit.splits import FOLD_RANKS, find_crossing, has_official
from covbench.audit.tables import AUDIT_TABLES
from covbench.data.datasets import dataset_of, usable_rows
from covbench.data.external import share_labels
from covbench.schema import CLASSIFICATION, Task

PATIENT, CHAIN, UNLISTED = "patient", "chain", "unlisted"
"""Why a row is dropped, if not for a duplicate: an image of its patient, a chain of both, or it is on no list."""
FACTS = ["label", "official_fold", "audited"]


def audit_labels(
    indexes: Mapping[str, pd.DataFrame], duplicates: Mapping[tuple[str, str], pd.DataFrame], tasks: Sequence[Task]
) -> dict[str, pd.DataFrame]:
    """Find what contradicts itself within each task and between every two, and what audited splits drop.

    Args:
        indexes: schema.INDEX_COLUMNS by dataset.
        duplicates: audit.duplicates.DUPLICATE_COLUMNS by pair of datasets, each pair once, and within each dataset.
        tasks: the planned tasks.

    Returns:
        The tables `contradictions`, `mixed_patients` and `dropped` of audit.tables.AUDIT_TABLES.
    """
    names = {task.name: dataset_of(task.name) for task in tasks}
    within = {name: duplicates[dataset, dataset] for name, dataset in names.items()}
    rows = {
        task.name: add_fates(usable_rows(indexes[names[task.name]], task), within[task.name], task) for task in tasks
    }
    classified = [task for task in tasks if task.kind == CLASSIFICATION]
    pairs = [
        compare_labels(rows[one.name], one, rows[other.name], other, duplicates[names[one.name], names[other.name]])
        for one in classified
        for other in classified
        if (names[one.name], names[other.name]) in duplicates
        and (one.name == other.name or names[one.name] != names[other.name])
    ]
    found = {
        "contradictions": pairs,
        "mixed_patients": [find_mixed_patients(rows[task.name]) for task in classified],
        "dropped": [list_dropped(rows[task.name], within[task.name]) for task in tasks],
    }
    return {name: _join_tables(name, tables) for name, tables in found.items()}


def _join_tables(name: str, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    columns = list(AUDIT_TABLES[name])
    filled = [table[columns] for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=columns)


def add_fates(rows: pd.DataFrame, duplicates: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Say what becomes of each row in the audited split.

    Args:
        rows: schema.INDEX_COLUMNS of the images that a task uses.
        duplicates: audit.duplicates.DUPLICATE_COLUMNS within the dataset.
        task: the task.

    Returns:
        The rows with the columns task (its name), group, dropped (bool) and audited (in words).
    """
    rows = rows.reset_index(drop=True)
    official = rows["official_fold"]
    rows = rows.assign(task=task.name, group=group_images(rows, duplicates))
    if not has_official(official, task):
        return rows.assign(dropped=False, audited="kept in one fold with its group")
    crossing, unlisted = find_crossing(official, rows["group"]), official == ""
    verbs = np.where(crossing, "dropped from", "kept in")
    audited = (verbs + " the authors' " + official + " fold").mask(unlisted, "dropped: on no list of the authors")
    return rows.assign(dropped=crossing | unlisted, audited=audited)


def compare_labels(
    rows: pd.DataFrame, task: Task, others: pd.DataFrame, other: Task, duplicates: pd.DataFrame
) -> pd.DataFrame:
    """List the duplicates whose labels contradict each other.

    Labels of one task are compared as they are. Labels of two tasks are compared by what they share: COVID or not.

    Args:
        rows: the first task's rows, as add_fates returns them.
        task: the first task.
        others: the second task's rows, or the same rows.
        other: the second task, or the same task.
        duplicates: audit.duplicates.DUPLICATE_COLUMNS between both datasets.

    Returns:
        The table `contradictions`.
    """
    one = rows[["image_id", *FACTS]]
    two = others[["image_id", *FACTS]].add_prefix("other_").rename(columns={"other_image_id": "other_id"})
    pairs = duplicates.merge(one, on="image_id").merge(two, on="other_id")
    table = pairs[_differ(pairs, task, other)].assign(task=task.name, other_task=other.name)
    return table.sort_values(["image_id", "other_id"])[list(AUDIT_TABLES["contradictions"])].reset_index(drop=True)


def _differ(pairs: pd.DataFrame, task: Task, other: Task) -> pd.Series:
    """Return whether `label` and `other_label` contradict each other: bool, (N,)."""
    if task == other:
        return pairs["label"] != pairs["other_label"]
    one, two = (dict(zip(shared.classes, share_labels(shared).tolist(), strict=True)) for shared in (task, other))
    comparable = {*one.values()} == {*two.values()} == {0, 1}
    return (pairs["label"].map(one) != pairs["other_label"].map(two)) & comparable


def find_mixed_patients(rows: pd.DataFrame) -> pd.DataFrame:
    """List every image of each patient with images of several classes: the table `mixed_patients`.

    rows: a task's rows, as add_fates returns them, with the column task.
    """
    mixed = rows.groupby("patient_id")["label"].transform("nunique") > 1
    ordered = rows[mixed].sort_values(["patient_id", "image_id"])
    return ordered[list(AUDIT_TABLES["mixed_patients"])].reset_index(drop=True)


def list_dropped(rows: pd.DataFrame, duplicates: pd.DataFrame) -> pd.DataFrame:
    """Name every row that the audited split drops from the authors' folds, with the row of a later fold that it meets.

    Of several such rows, it is a duplicate with another label if there is one, then the most similar duplicate, then an
    image of the same patient, then any row of the group. A row on no list of the authors meets none.

    rows: a task's rows, as add_fates returns them, with the column task.
    duplicates: audit.duplicates.DUPLICATE_COLUMNS within the dataset.

    Returns the table `dropped`.
    """
    facts = ["image_id", "patient_id", "label", "official_fold", "group"]
    later = rows[facts].rename(columns={name: f"other_{name}" for name in facts})
    met = rows[rows["dropped"]].merge(later, left_on="group", right_on="other_group")
    met = met[met["official_fold"].map(FOLD_RANKS) < met["other_official_fold"].map(FOLD_RANKS)]
    known = pair_both_ways(duplicates).rename(columns={"other_id": "other_image_id"})
    met = met.merge(known, how="left", on=["image_id", "other_image_id"])
    links = [met["kind"].notna(), met["patient_id"] == met["other_patient_id"]]
    met["because"] = np.select(links, [met["kind"], PATIENT], CHAIN)
    met["contradictory"] = (links[0] & (met["label"] != met["other_label"])).astype(int)
    met["link"] = np.select(links, [0, 1], 2)
    order = {"contradictory": False, "link": True, "correlation": False, "other_image_id": True}
    first = met.sort_values(list(order), ascending=list(order.values()))
    met = first.drop_duplicates("image_id").rename(columns={"other_image_id": "other_id"})
    unlisted = rows[rows["dropped"] & (rows["official_fold"] == "")].assign(because=UNLISTED, contradictory=0)
    others = dict.fromkeys(("other_id", "other_label", "other_official_fold"), "")
    named = pd.concat([met, unlisted.assign(**others)]).sort_values("image_id")
    return named[list(AUDIT_TABLES["dropped"])].reset_index(drop=True)
