"""Group the images that a split must keep together: patients, duplicates and chains of both."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def group_images(rows: pd.DataFrame, duplicates: pd.DataFrame) -> pd.Series:
    """Group images of one patient, duplicates of any kind, and chains of these.

    rows: image_id and patient_id (schema.INDEX_COLUMNS), (N,).
    duplicates: audit.duplicates.DUPLICATE_COLUMNS within the dataset. Pairs with an image that is not among the rows
        are ignored.

    Returns the group of each row, (N,), named after its alphabetically first patient.
    """
    first = np.unique(rows["patient_id"], return_index=True, return_inverse=True)
    position = pd.Series(np.arange(len(rows)), rows["image_id"].to_numpy())
    pairs = duplicates[duplicates["image_id"].isin(position.index) & duplicates["other_id"].isin(position.index)]
    start = np.concatenate([np.arange(len(rows)), position.loc[pairs["image_id"]].to_numpy()])
    end = np.concatenate([first[1][first[2]], position.loc[pairs["other_id"]].to_numpy()])
    graph = coo_array((np.ones(len(start), bool), (start, end)), shape=(len(rows), len(rows)))
    _, component = connected_components(graph, directed=False)
    return rows["patient_id"].groupby(component).transform("min").rename("group")
