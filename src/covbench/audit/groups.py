"""Group images: what a split must keep together (patients, duplicates and chains of both), and what looks alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def add_groups(rows: pd.DataFrame, duplicates: pd.DataFrame) -> pd.DataFrame:
    """Add the columns `group` and `duplicate_set` of schema.SPLIT_COLUMNS to rows of an index.

    rows: image_id and patient_id (schema.INDEX_COLUMNS), (N,).
    duplicates: audit.duplicates.DUPLICATE_COLUMNS within the dataset. Pairs with an image that is not among the rows
        are ignored.
    """
    groups, sets = group_images(rows, duplicates), find_duplicate_sets(rows, duplicates)
    return rows.assign(group=groups.to_numpy(), duplicate_set=sets.to_numpy())


def group_images(rows: pd.DataFrame, duplicates: pd.DataFrame) -> pd.Series:
    """Group images of one patient, duplicates of any kind, and chains of these.

    rows, duplicates: as in add_groups. Returns the group of each row, (N,), named after its alphabetically first
    patient.
    """
    _, first, patient = np.unique(rows["patient_id"], return_index=True, return_inverse=True)
    start, end = _locate_pairs(rows, duplicates)
    component = _connect(
        np.concatenate([np.arange(len(rows)), start]), np.concatenate([first[patient], end]), len(rows)
    )
    return rows["patient_id"].groupby(component).transform("min").rename("group")


def find_duplicate_sets(rows: pd.DataFrame, duplicates: pd.DataFrame) -> pd.Series:
    """Join duplicates of any kind and chains of these. A patient does not join two pictures.

    rows, duplicates: as in add_groups. Returns the set of each row, (N,), named after its alphabetically first image,
    which is the row's own where it has no duplicate.
    """
    component = _connect(*_locate_pairs(rows, duplicates), len(rows))
    return rows["image_id"].groupby(component).transform("min").rename("duplicate_set")


def _locate_pairs(rows: pd.DataFrame, duplicates: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of both images of each pair among the rows: int64, (P,) each."""
    position = pd.Series(np.arange(len(rows)), rows["image_id"].to_numpy())
    pairs = duplicates[duplicates["image_id"].isin(position.index) & duplicates["other_id"].isin(position.index)]
    return position.loc[pairs["image_id"]].to_numpy(), position.loc[pairs["other_id"]].to_numpy()


def _connect(start: np.ndarray, end: np.ndarray, size: int) -> np.ndarray:
    """Number the connected components of the graph with these edges: int32, (size,)."""
    graph = coo_array((np.ones(len(start), bool), (start, end)), shape=(size, size))
    return connected_components(graph, directed=False)[1]
