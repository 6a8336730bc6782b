"""What every dataset's index shares: columns, hashes, checks and the choice of usable rows."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from covbench.images import (
    header_orientation,
    is_volume,
    perceptual_hash,
    read_frames,
    read_images,
    read_masks,
    show_values,
)
from covbench.schema import CLASSIFICATION, INDEX_COLUMNS, CovbenchError, Task

LISTED = 50  # errors named in one message
DEFAULTS: dict[str, Any] = {"str": "", "int64": -1, "float64": np.nan, "bool": False}

logger = logging.getLogger(__name__)


def count_workers() -> int:
    """Threads for decoding: Pillow, zlib and hashlib release the interpreter lock."""
    return min(8, len(os.sched_getaffinity(0)))


def fill_columns(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A table with schema.INDEX_COLUMNS; a cell that a row leaves out is empty, -1, NaN or False."""
    table = pd.DataFrame(list(rows), columns=list(INDEX_COLUMNS))
    for name, column in INDEX_COLUMNS.items():
        empty = DEFAULTS[column.dtype]
        table[name] = table[name].astype(object).where(table[name].notna(), empty).astype(column.dtype)
    return table


def build_index(rows: Sequence[Mapping[str, Any]], raw: Path) -> pd.DataFrame:
    """The index of a dataset: `rows` with every column, hashes and checks.

    rows: cells by column name; those left out are filled, `patient_id` with the image_id. A row with a `reason` is
        excluded and needs no file.
    Raises CovbenchError naming every file that is truncated, unreadable, not finite, or whose mask does not fit.
    """
    if not rows:
        raise CovbenchError(f"{raw}: no images found; delete this folder and its manifest and fetch again")
    table = fill_columns(rows)
    table["patient_id"] = table["patient_id"].where(table["patient_id"] != "", table["image_id"])
    table["excluded"] = table["reason"] != ""
    groups = [group for _, group in table.groupby("path", sort=False)]
    with ThreadPoolExecutor(count_workers()) as pool:
        found = list(tqdm(pool.map(lambda group: _inspect_file(group, raw), groups), total=len(groups), unit="file"))
    raise_all([error for _, errors in found for error in errors], raw)
    hashes = pd.concat([frame for frame, _ in found]).sort_index()
    return table.assign(sha256=hashes["sha256"].astype("str"), phash=hashes["phash"].astype("str"))


def raise_all(errors: Sequence[str], raw: Path) -> None:
    """One CovbenchError with every message, if there are any."""
    if errors:
        listed = "\n  ".join(errors[:LISTED])
        more = f"\n  … and {len(errors) - LISTED} more" if len(errors) > LISTED else ""
        raise CovbenchError(
            f"{len(errors)} files in {raw} cannot be used:\n  {listed}{more}\n"
            f"Delete {raw} and {raw}.manifest.json and fetch again."
        )


def _inspect_file(group: pd.DataFrame, raw: Path) -> tuple[pd.DataFrame, list[str]]:
    """sha256 and phash of the rows that share a file, by the table's row numbers, and what is wrong with it."""
    first = group.iloc[0]
    path = raw / first["path"]
    hashes = pd.DataFrame({"sha256": "", "phash": ""}, index=group.index)
    if not path.is_file():
        return hashes, [] if group["excluded"].all() else [f"{path}: not there"]
    try:
        shapes = _hash_stack(group, path, hashes) if first["frame"] >= 0 else _hash_picture(group, path, hashes)
        return hashes, _check_masks(group[~group["excluded"] & (group["mask"] != "")], raw, shapes)
    except CovbenchError as error:
        return hashes, [] if group["excluded"].all() else [str(error)]


def _hash_picture(group: pd.DataFrame, path: Path, hashes: pd.DataFrame) -> dict[int, tuple[int, int]]:
    row = group.iloc[0]
    hashes["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    image = next(read_images(path, [-1], row["window_low"], row["window_high"], row["orientation"]))
    hashes["phash"] = perceptual_hash(image)
    return {-1: image.shape}


def _hash_stack(group: pd.DataFrame, path: Path, hashes: pd.DataFrame) -> dict[int, tuple[int, int]]:
    row, shapes = group.iloc[0], {}
    for number, frame, values in zip(
        group.index, group["frame"], read_frames(path, list(group["frame"]), row["orientation"]), strict=True
    ):
        try:
            image = show_values(values, row["window_low"], row["window_high"])
        except CovbenchError as error:
            raise CovbenchError(f"{path}: frame {frame} {error}") from error
        hashes.loc[number, "sha256"] = hashlib.sha256(values.tobytes()).hexdigest()
        hashes.loc[number, "phash"] = perceptual_hash(image)
        shapes[frame] = image.shape
    return shapes


def _check_masks(group: pd.DataFrame, raw: Path, shapes: Mapping[int, tuple[int, int]]) -> list[str]:
    """What is wrong with the masks of the rows that share an image file."""
    errors = []
    for name, rows in group.groupby("mask", sort=False):
        frames, path = list(rows["frame"]), raw / name
        if not path.is_file():
            errors.append(f"{path}: not there, but it is the mask of {rows['path'].iloc[0]}")
            continue
        try:
            masks = read_masks(path, frames, rows["mask_values"].iloc[0], (), image_orientation(rows.iloc[0], raw))
            for frame, mask in zip(frames, masks, strict=True):
                if mask.shape != shapes[frame]:
                    where = f" frame {frame}" if frame >= 0 else ""
                    raise CovbenchError(
                        f"{path}:{where} mask is {mask.shape}, its image {shapes[frame]} (rows, columns)"
                    )
        except CovbenchError as error:
            errors.append(str(error))
    return errors


def image_orientation(row: pd.Series, raw: Path) -> str:
    """How the image of a row is stored, so that its mask is turned likewise whatever the mask's own header says."""
    if row["orientation"] or not is_volume(raw / row["path"]):
        return row["orientation"]
    return header_orientation(raw / row["path"]) or "RAS"


def usable_rows(index: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The rows of an index that a task uses, in order: not excluded, and with a label of the task or with a mask."""
    fits = index["label"].isin(task.classes) if task.kind == CLASSIFICATION else index["mask"] != ""
    return index[~index["excluded"] & fits].reset_index(drop=True)


def log_counts(name: str, index: pd.DataFrame) -> None:
    """One line per class and per reason of exclusion."""
    usable = index[~index["excluded"]]
    logger.info("%s: %d rows, %d usable, %d patients", name, len(index), len(usable), usable["patient_id"].nunique())
    for label, count in usable["label"].replace("", "(pixels labelled)").value_counts().items():
        logger.info("%s: %6d %s", name, count, label)
    for reason, count in index.loc[index["excluded"], "reason"].value_counts().items():
        logger.info("%s: %6d excluded: %s", name, count, reason)


def correlate_neighbours(thumbnails: np.ndarray) -> np.ndarray:
    """Pearson correlation of each picture with the one before: float64, (N - 1,), from (N, h, w) thumbnails."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    return (flat[1:] * flat[:-1]).sum(axis=1)
