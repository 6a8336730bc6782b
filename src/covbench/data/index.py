"""Build and check the index of a dataset: columns, hashes, masks, and the rows that a task can use."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from covbench.data.decoded_store import open_store
from covbench.data.inspection import inspect_file, log_unstated_axes
from covbench.data.names import clean_patient, unite_spellings
from covbench.data.patient_facts import FACTS
from covbench.data.raw_files import count_unread, list_errors, require_inside, require_unique, show_unread
from covbench.schema import CLASSIFICATION, INDEX_COLUMNS, PATIENTS, SEGMENTATION, Card, CovbenchError, Task

DEFAULTS: dict[str, Any] = {"str": "", "int64": -1, "float64": np.nan, "bool": False}

TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int64": (int, np.integer),
    "float64": (float, int, np.floating, np.integer),
    "bool": (bool, np.bool_),
}

logger = logging.getLogger(__name__)


def count_workers() -> int:
    """Count threads for decoding. Pillow, zlib and hashlib release the interpreter lock."""
    return min(8, len(os.sched_getaffinity(0)))


def check_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise CovbenchError for the first cell whose column is unknown or whose value is not of the column's type."""
    for number, row in enumerate(rows):
        where = f"row {number} ({row.get('image_id', 'without image_id')})"
        for name, value in row.items():
            if name not in INDEX_COLUMNS:
                near = difflib.get_close_matches(name, INDEX_COLUMNS, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise CovbenchError(f"{where}: unknown column {name!r}{hint}; known: {', '.join(INDEX_COLUMNS)}")
            wanted = INDEX_COLUMNS[name].dtype
            if value is not None and value == value and not isinstance(value, TYPES[wanted]):
                raise CovbenchError(f"{where}: {name} is {value!r}, a {type(value).__name__}; it has to be {wanted}")


def check_index(table: pd.DataFrame, card: Card) -> None:
    """What every index promises beyond its form.

    Args:
        table: schema.INDEX_COLUMNS, as build_index returns it.
        card: of the dataset.

    Raises:
        CovbenchError: columns or their types are not those of the schema, an image_id is there twice, or a row that is
            not excluded has a label, mask, modality or fold that no task of the card understands. Rows are named.
    """
    missing = [name for name in INDEX_COLUMNS if name not in table]
    unknown = [name for name in table if name not in INDEX_COLUMNS]
    if missing or unknown:
        raise CovbenchError(f"index of {card.title}: missing columns {missing}, unknown columns {unknown}")
    wrong = [f"{n} is {table[n].dtype}, not {c.dtype}" for n, c in INDEX_COLUMNS.items() if table[n].dtype != c.dtype]
    if wrong:
        raise CovbenchError(f"index of {card.title}: {'; '.join(wrong)}; build it with covbench.data.index.build_index")
    classes = {
        kind: {name for task in card.tasks if task.kind == kind for name in task.classes}
        for kind in (CLASSIFICATION, SEGMENTATION)
    }
    errors = [
        error
        for number, row in enumerate(table.to_dict("records"))
        for error in _check_row(number, row, card.modality, classes)
    ]
    twice = table.loc[table["image_id"].duplicated(), "image_id"]
    errors += [
        f"row {number}: image_id {name!r} is there already; it has to be unique" for number, name in twice.items()
    ]
    if errors:
        raise CovbenchError(f"index of {card.title}: {len(errors)} rows are wrong\n  {list_errors(errors)}")
    _check_patients(table, card)
    _check_official(table, card)


def _check_patients(table: pd.DataFrame, card: Card) -> None:
    """Compare what the card says of patients with the rows. A row whose patient is unknown has its image_id instead."""
    if card.patients not in PATIENTS:
        raise CovbenchError(f"card of {card.title}: patients is {card.patients!r}; known: {', '.join(PATIENTS)}")
    known = int((table["patient_id"] != table["image_id"]).sum())
    if card.patients == "none" and known:
        raise CovbenchError(
            f"index of {card.title}: {known} rows name a patient, but its card says patients='none'; write "
            "'published' or 'inferred' there, or leave patient_id empty"
        )
    if card.publishes_patients and not known:
        raise CovbenchError(
            f"index of {card.title}: no row names a patient, but its card says patients='published'; write "
            "'none' there, or fill patient_id"
        )


def _check_official(table: pd.DataFrame, card: Card) -> None:
    named = int((table["official_fold"] != "").sum())
    if card.official_split != bool(named):
        raise CovbenchError(
            f"index of {card.title}: {named} rows name a fold of an authors' split, but its card says "
            f"official_split={card.official_split}; mend one of them"
        )


def _check_row(number: int, row: Mapping[Any, Any], modality: str, classes: Mapping[str, set[str]]) -> Iterator[str]:
    where = f"row {number} ({row['image_id']})"
    if row["excluded"] != bool(row["reason"]):
        yield f"{where}: excluded and reason {row['reason']!r} disagree; give a reason to exclude a row"
    if row["official_fold"] not in ("", "train", "val", "test"):
        yield f"{where}: official_fold is {row['official_fold']!r}; known: train, val, test, or empty"
    for fact, known in FACTS.items():
        if row[fact] and row[fact] not in known:
            yield f"{where}: {fact} is {row[fact]!r}; known: {', '.join(known)}, or empty"
    if row["excluded"]:
        return
    if row["modality"] != modality:
        yield f"{where}: modality is {row['modality']!r}, the card's is {modality!r}; give a reason to exclude it"
    labels, regions = classes[CLASSIFICATION], classes[SEGMENTATION]
    if labels and row["label"] not in labels:
        yield f"{where}: label {row['label']!r} is no class of its tasks; known: {', '.join(sorted(labels))}"
    named = {part.partition(":")[2] for part in row["mask_values"].split()}
    if regions and row["mask"] and not named & regions:
        yield f"{where}: mask_values {row['mask_values']!r} name no class; known: {', '.join(sorted(regions))}"
    if not labels and not row["mask"]:
        yield f"{where}: no mask; give a reason to exclude it"


def fill_columns(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Build a table with schema.INDEX_COLUMNS. Missing cells become empty, -1, NaN or False."""
    table = pd.DataFrame(list(rows), columns=list(INDEX_COLUMNS))
    for name, column in INDEX_COLUMNS.items():
        table[name] = table[name].astype(object).where(table[name].notna(), DEFAULTS[column.dtype])
    types: dict[str, Any] = {name: column.dtype for name, column in INDEX_COLUMNS.items()}
    return table.astype(types)


def build_index(rows: Sequence[Mapping[str, Any]], raw: Path, metadata: Sequence[Path] = ()) -> pd.DataFrame:
    """Build the index of a dataset from its rows: fill the columns, hash every image and check every file.

    Args:
        rows: cells by column name. Missing cells are filled, `patient_id` with the image_id. A row with a `reason` is
            excluded and needs no file.
        raw: the dataset's folder in data/raw.
        metadata: tables and lists that were read, so that they do not count as unread.

    Returns:
        schema.INDEX_COLUMNS. `attrs["unread"]` counts the files of `raw` that were not read, by suffix.

    Raises:
        CovbenchError: there are no rows, a cell has an unknown column or a wrong type, a path leads out of `raw`, two
            files have one image_id, or a file is missing, truncated, unreadable or not finite, or its mask does not
            fit. The message names every such file.
    """
    check_rows(rows)
    if not rows:
        raise CovbenchError(f"{raw}: no images found; delete this folder and its manifest and fetch again")
    table = fill_columns(rows)
    require_inside(table, raw)
    require_unique(table, raw)
    table["excluded"] = table["reason"] != ""
    table["patient_id"] = _name_patients(table, raw)
    files = group_by_file(table)
    with open_store(raw) as store, ThreadPoolExecutor(count_workers()) as pool:
        found = pool.map(lambda numbers: inspect_file(table.take(numbers), raw, store), files)
        hashes, errors = zip(*tqdm(found, total=len(files), unit="file"), strict=True)
    raise_all([error for several in errors for error in several], raw)
    log_unstated_axes(table, raw)
    order = np.argsort(np.concatenate(files))
    sha256, phash, flaw = np.array([found for several in hashes for found in several])[order].T
    table = table.assign(sha256=pd.Series(sha256, dtype="str"), phash=pd.Series(phash, dtype="str"))
    reason = table["reason"].where(table["excluded"], pd.Series(flaw, dtype="str"))
    table = table.assign(reason=reason, excluded=reason != "")
    read = [path.relative_to(raw).as_posix() for path in metadata]
    table.attrs["unread"] = count_unread(raw, [*table["path"], *table["mask"], *read])
    if table.attrs["unread"]:
        logger.info("%s: files that are not read: %s", raw.name, show_unread(table.attrs["unread"]))
    return table


def _name_patients(table: pd.DataFrame, raw: Path) -> pd.Series:
    """Give each patient one spelling, and each row without a patient its image_id. Both are counted in the log.

    Ids are compared by covbench.data.names: '7' and '7.0' are one patient.
    """
    given = table["patient_id"].map(clean_patient)
    patients = given.map(unite_spellings(given))
    changed = int((patients != table["patient_id"]).sum())
    if changed:
        logger.warning("%s: the patient_id of %d rows got the spelling of other rows, or none", raw.name, changed)
    unknown = (patients == "") & ~table["excluded"]
    if unknown.any() and (patients != "").any():
        logger.warning("%s: %d rows name no patient; each counts as a patient of its own", raw.name, unknown.sum())
    return patients.where(patients != "", table["image_id"])


def group_by_file(table: pd.DataFrame) -> list[np.ndarray]:
    """Group row positions by file, in order of appearance, so that each volume is read once."""
    codes, _ = pd.factorize(table["path"])
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def raise_all(errors: Sequence[str], raw: Path) -> None:
    """Raise one CovbenchError with all messages, if there are any."""
    if errors:
        raise CovbenchError(
            f"{len(errors)} files in {raw} cannot be used:\n  {list_errors(errors)}\n"
            f"Delete {raw} and {raw}.manifest.json and fetch again."
        )


def usable_rows(index: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Select the rows of an index that a task uses, in order: not excluded, and with a label of the task or a mask."""
    fits = index["label"].isin(task.classes) if task.kind == CLASSIFICATION else index["mask"] != ""
    rows = index[~index["excluded"] & fits].reset_index(drop=True)
    rows.attrs = {}  # what the index says of other files makes no split or array differ
    return rows


def log_counts(name: str, index: pd.DataFrame, card: Card) -> None:
    """Log the number of rows, of patients, of images per class, and of excluded rows per reason.

    Args:
        name: of the dataset.
        index: schema.INDEX_COLUMNS.
        card: of the dataset, which says whether it publishes patients.
    """
    usable = index[~index["excluded"]]
    patients = f"{usable['patient_id'].nunique()} patients" if card.publishes_patients else "patients not published"
    logger.info("%s: %d rows, %d usable, %s", name, len(index), len(usable), patients)
    for label, count in usable["label"].replace("", "(pixels labelled)").value_counts().items():
        logger.info("%s: %6d %s", name, count, label)
    for reason, count in index.loc[index["excluded"], "reason"].value_counts().items():
        logger.info("%s: %6d excluded: %s", name, count, reason)


def correlate_neighbours(thumbnails: np.ndarray) -> np.ndarray:
    """Correlate each thumbnail, (N, h, w), with the one before it (Pearson): float64, (N - 1,)."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    return (flat[1:] * flat[:-1]).sum(axis=1)
