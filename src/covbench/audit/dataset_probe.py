"""Tell datasets of one modality apart by the look of their images: what differs between them is not the disease."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from covbench.audit.duplicates import Thumbnails
from covbench.audit.groups import group_images
from covbench.audit.shortcuts import Guesses, count_folds, cross_validate
from covbench.models.baselines import build_logistic, describe_gradients

MOST = 1000  # images of a dataset
PREDICTOR = "histograms of oriented gradients"


class ProbedDataset(NamedTuple):
    """A dataset. rows: schema.INDEX_COLUMNS. thumbnails: of its images that are not excluded, in this order."""

    name: str
    rows: pd.DataFrame
    thumbnails: Thumbnails


def probe_datasets(datasets: Sequence[ProbedDataset], duplicates: Mapping[tuple[str, str], pd.DataFrame]) -> Guesses:
    """Predict the dataset of each image from its thumbnail, cross-validated, with a logistic regression.

    At most MOST images of each dataset are drawn. Duplicates across datasets stay in one fold.

    Args:
        datasets: of one modality, two or more.
        duplicates: audit.duplicates.DUPLICATE_COLUMNS by the names of both datasets, in alphabetical order.

    Returns:
        The guesses. Classes are the datasets in their order.
    """
    chosen = [_draw_images(dataset) for dataset in datasets]
    rows = pd.concat([table for table, _ in chosen], ignore_index=True)
    groups = group_images(rows, _join_duplicates(duplicates))
    names, folds = [dataset.name for dataset in datasets], count_folds(rows["label"], groups)
    counts = (PREDICTOR, len(rows), groups.nunique(), len(names))
    if folds < 2:
        return Guesses(*counts, "too few groups of a dataset to cross-validate")
    features = describe_gradients(np.concatenate([images for _, images in chosen]))
    predictions = cross_validate(features, build_logistic(0), rows, groups, names)
    return Guesses(*counts, f"{folds} folds, groups kept apart", predictions)


def _draw_images(dataset: ProbedDataset) -> tuple[pd.DataFrame, np.ndarray]:
    """Draw rows, with the dataset as their label and in their ids, and their thumbnails, uint8, (N, 128, 128)."""
    used = dataset.rows[~dataset.rows["excluded"]].reset_index(drop=True)
    used = used.sample(min(MOST, len(used)), random_state=0).sort_index()
    ids = {name: _name(dataset.name, used[name]) for name in ("image_id", "patient_id")}
    return used.assign(**ids, label=dataset.name), dataset.thumbnails.images[used.index.to_numpy()]


def _join_duplicates(duplicates: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    tables = [
        pd.DataFrame({"image_id": _name(one, table["image_id"]), "other_id": _name(other, table["other_id"])})
        for (one, other), table in duplicates.items()
    ]
    return pd.concat(tables, ignore_index=True)


def _name(dataset: str, ids: pd.Series) -> pd.Series:
    return dataset + "/" + ids.astype(str)
