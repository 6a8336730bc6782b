"""Which images belong together, and which test images a split has shown to training already."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from covbench.schema import CLASSIFICATION, Task

NEAR = 2
"""Bits by which the perceptual hashes of near copies may differ.

Measured on samples of the six datasets: halving the size moves a hash by at most 2 bits, and so does JPEG at quality 50
in 98 of 100 images. Among 124,000 pairs of X-rays only true copies lie within 2, while at 4 different patients do; CT
pairs within 2 are neighbouring slices of one patient, save for whole volumes (see find_near_copies).
"""
BLANK = "0" * 16
BLOCK = 2048
AUDIT_COLUMNS = [
    *["class", "test_images", "image_in_val", "image_in_train", "patient_in_train", "duplicate_in_train"],
    *["near_copy_in_train", "leaked", "leaked_share"],
]


def group_images(rows: pd.DataFrame) -> pd.Series:
    """What a split must keep together: images of one patient, exact duplicates and near copies, and chains of these.

    rows: schema.INDEX_COLUMNS, (N,). Returns the group of each row, (N,), named by its first patient in the alphabet.
    """
    first = np.arange(len(rows))
    links = [(first, _first_with_same(rows["patient_id"])), (first, _first_with_same(_hashes(rows)))]
    links.append(find_near_copies(rows))
    start, end = (np.concatenate(side) for side in zip(*links, strict=True))
    graph = coo_array((np.ones(len(start), bool), (start, end)), shape=(len(rows), len(rows)))
    _, component = connected_components(graph, directed=False)
    return rows["patient_id"].groupby(component).transform("min").rename("group")


def find_near_copies(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows whose perceptual hashes differ by at most NEAR bits.

    Returns two int64 arrays of positions, (M,), the first of a pair before the second.
    Two slices of volumes whose patients are known are never a pair: the same anatomy at the same height looks alike in
    different people (one in nine such pairs in the sample). Blank and unreadable images have no copies.
    """
    places = np.flatnonzero(~rows["phash"].isin(["", BLANK]))
    signs = read_signs(rows["phash"].iloc[places])
    in_volume = _known_volume(rows)[places]
    starts, ends = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for top in range(0, len(places), BLOCK):
        agreement = signs[top : top + BLOCK] @ signs.T
        one, other = np.nonzero(agreement >= 64 - 2 * NEAR)
        one = one + top
        kept = (one < other) & ~(in_volume[one] & in_volume[other])
        starts.append(places[one[kept]])
        ends.append(places[other[kept]])
    return np.concatenate(starts), np.concatenate(ends)


def read_signs(hashes: pd.Series) -> np.ndarray:
    """64-bit hashes, 16 hexadecimal digits, as float32, (N, 64), -1 or 1: their product is 64 - 2 x differing bits."""
    octets = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, 8)
    return np.unpackbits(octets, axis=1).astype(np.float32) * 2 - 1


def _first_with_same(values: pd.Series) -> np.ndarray:
    codes = values.factorize()[0]
    return np.unique(codes, return_index=True)[1][codes]


def _hashes(rows: pd.DataFrame) -> pd.Series:
    """sha256 of each row; blank images, equal without being copies, and unhashed ones by themselves."""
    alone = (rows["phash"] == BLANK) | (rows["sha256"] == "")
    return rows["sha256"].mask(alone, rows["image_id"])


def _known_volume(rows: pd.DataFrame) -> np.ndarray:
    return ((rows["frame"] >= 0) & (rows["patient_id"] != rows["image_id"])).to_numpy()


def audit_split(split: pd.DataFrame, rows: pd.DataFrame, task: Task) -> list[dict[str, Any]]:
    """How many test images training has seen, or something of their patient: AUDIT_COLUMNS, first all, then per class.

    split: schema.SPLIT_COLUMNS. rows: schema.INDEX_COLUMNS of the same task. An image counts once per column; `leaked`
    counts those that any `…_in_train` column counts.
    """
    signs = _mark_leaks(split, rows)
    parts = [("", signs)]
    if task.kind == CLASSIFICATION:
        parts += [(name, signs[signs["label"] == number]) for number, name in enumerate(task.classes)]
    return [_count_leaks(name, part) for name, part in parts]


def _mark_leaks(split: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """A row per test image, with what of it stands in other folds."""
    train, val, test = (split[split["fold"] == fold] for fold in ("train", "val", "test"))
    hashes = pd.Series(_hashes(rows).to_numpy(), rows["image_id"])
    one, other = find_near_copies(rows)
    ids = rows["image_id"].to_numpy()
    pairs = pd.DataFrame({"one": np.append(ids[one], ids[other]), "other": np.append(ids[other], ids[one])})
    near = set(pairs.loc[pairs["other"].isin(train["image_id"]), "one"])
    return pd.DataFrame(
        {
            "label": test["label"],
            "image_in_val": test["image_id"].isin(val["image_id"]),
            "image_in_train": test["image_id"].isin(train["image_id"]),
            "patient_in_train": test["patient_id"].isin(train["patient_id"]),
            "duplicate_in_train": test["image_id"].map(hashes).isin(hashes.loc[train["image_id"].unique()]),
            "near_copy_in_train": test["image_id"].isin(near),
        }
    )


def _count_leaks(name: str, signs: pd.DataFrame) -> dict[str, Any]:
    in_train = signs.filter(like="_in_train")
    leaked = int(in_train.any(axis=1).sum())
    counts = {str(column): int(signs[column].sum()) for column in signs.columns.drop("label")}
    share = leaked / len(signs) if len(signs) else None
    return {"class": name, "test_images": len(signs), **counts, "leaked": leaked, "leaked_share": share}
