"""Report which test images leaked into training, and by which kind of leak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from covbench.audit.duplicates import EXACT, KINDS, pair_both_ways
from covbench.audit.tables import AUDIT_TABLES
from covbench.schema import CLASSIFICATION, Task

AUGMENTED = "augmented"
"""Kind of a leaked pair that shows two copies of one image, at least one of them augmented."""
LEAKS = {
    "image_in_train": "the same image",
    "augmented_copy_in_train": "an augmented copy of the image, or the image of an augmented copy",
    "patient_in_train": "another image of the patient, as published or inferred",
    "duplicate_in_train": "an image with the same bytes",
    "near_duplicate_in_train": "a near, mirrored or annotated duplicate",
}
SPLIT_KEYS = ["task", "protocol", "seed"]
PAIR_COLUMNS = [name for name in AUDIT_TABLES["pairs"] if name not in SPLIT_KEYS]


def audit_split(split: pd.DataFrame, duplicates: pd.DataFrame, task: Task) -> list[dict[str, Any]]:
    """Count the test images that training has seen, or whose patient it has seen.

    An image counts once per column. `leaked` counts the images that any column of LEAKS counts. If no patient is known,
    `patient_in_train` is None.

    Args:
        split: schema.SPLIT_COLUMNS.
        duplicates: audit.duplicates.DUPLICATE_COLUMNS within the task's dataset.
        task: the task that is split.

    Returns:
        Rows of the table `splits` without SPLIT_KEYS: all classes together, then each class of a classification task.
    """
    signs = _mark_leaks(split, find_leaked_pairs(split, duplicates, task))
    known = bool((split["patient_id"] != split["image_id"]).any())
    parts = [("", signs)]
    if task.kind == CLASSIFICATION:
        parts += [(name, signs[signs["label"] == number]) for number, name in enumerate(task.classes)]
    rows = [_count_leaks(name, part) for name, part in parts]
    return rows if known else [row | {"patient_in_train": None} for row in rows]


def find_leaked_pairs(split: pd.DataFrame, duplicates: pd.DataFrame, task: Task) -> pd.DataFrame:
    """List each test row with the training rows that show the same picture.

    Args:
        split: schema.SPLIT_COLUMNS.
        duplicates: audit.duplicates.DUPLICATE_COLUMNS within the task's dataset.
        task: the task that is split.

    Returns:
        A table with PAIR_COLUMNS. class is that of the test image, and empty for segmentation. kind is that of the
        duplicates, or AUGMENTED. correlation is that of the images before augmentation.
    """
    train, test = (split[split["fold"] == fold][["image_id", "copy", "label"]] for fold in ("train", "test"))
    train = train.rename(columns={"image_id": "train_id", "copy": "train_copy"}).drop(columns="label")
    known = pair_both_ways(duplicates).rename(columns={"other_id": "train_id"})
    pairs = test.merge(known, on="image_id").merge(train, on="train_id")
    itself = test.merge(train.assign(image_id=train["train_id"]), on="image_id")
    itself = itself[itself["copy"] != itself["train_copy"]].assign(kind=AUGMENTED, correlation=1.0)
    pairs = pd.concat([pairs, itself]).sort_values(["image_id", "copy", "train_id", "train_copy"])
    names = {-1: "", **dict(enumerate(task.classes))}
    return pairs.assign(**{"class": [names[label] for label in pairs["label"]]})[PAIR_COLUMNS].reset_index(drop=True)


def _mark_leaks(split: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return a row per test row that says what of it other folds hold."""
    train, val, test = (split[split["fold"] == fold] for fold in ("train", "val", "test"))
    rows = pd.MultiIndex.from_frame(test[["image_id", "copy"]])

    def is_in(table: pd.DataFrame) -> np.ndarray:
        return rows.isin(pd.MultiIndex.from_frame(table[["image_id", "copy"]]))

    return pd.DataFrame(
        {
            "label": test["label"],
            "image_in_val": is_in(val),
            "image_in_train": is_in(train),
            "augmented_copy_in_train": is_in(pairs[pairs["kind"] == AUGMENTED]),
            "patient_in_train": test["patient_id"].isin(train["patient_id"]),
            "duplicate_in_train": is_in(pairs[pairs["kind"] == EXACT]),
            "near_duplicate_in_train": is_in(pairs[~pairs["kind"].isin([EXACT, AUGMENTED])]),
        }
    )


def _count_leaks(name: str, signs: pd.DataFrame) -> dict[str, Any]:
    leaked = int(signs[list(LEAKS)].any(axis=1).sum())
    counts = {str(column): int(signs[column].sum()) for column in signs.columns.drop("label")}
    share = leaked / len(signs) if len(signs) else None
    return {"class": name, "test_images": len(signs), **counts, "leaked": leaked, "leaked_share": share}


def count_duplicates(dataset: str, other: str, duplicates: pd.DataFrame, images: Mapping[str, int]) -> dict[str, Any]:
    """Count the pairs of each kind between two datasets, or within one, and the images that have a duplicate.

    Args:
        dataset: name of the first dataset.
        other: name of the second dataset, or the same name again.
        duplicates: audit.duplicates.DUPLICATE_COLUMNS between the two.
        images: number of usable images of each dataset, by name.

    Returns:
        A row of the table `across`.
    """
    here, there = set(duplicates["image_id"]), set(duplicates["other_id"])
    here, there = (here | there, here | there) if dataset == other else (here, there)
    kinds = {kind: int((duplicates["kind"] == kind).sum()) for kind in KINDS}
    sizes = {"dataset": dataset, "other": other, "images": images[dataset], "other_images": images[other]}
    return {**sizes, **kinds, "images_with_duplicate": len(here), "other_images_with_duplicate": len(there)}
