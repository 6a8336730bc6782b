"""A model trained on one dataset, tested on another: which tasks fit, what their labels share, which images are new."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from covbench.data.datasets import DATASETS, TASKS, dataset_of
from covbench.schema import CLASSIFICATION, SEGMENTATION, SPLIT_COLUMNS, Task

COVID = "covid"
SHARED = {
    CLASSIFICATION: Task("covid_or_not", CLASSIFICATION, ("not_covid", COVID), positive=COVID),
    SEGMENTATION: Task("lesion_or_not", SEGMENTATION, ("background", "lesion"), lesions=("lesion",)),
}
"""What the tasks of different datasets have in common, by kind."""

COUNTS = ("usable", "duplicates", "removed", "images", "patients", "groups")
"""What is counted of an external dataset: its usable images, those with a duplicate in the models' dataset, the images
removed together with their groups, and the images, patients (None where it publishes none) and groups that are left.
"""


def find_external_tasks(name: str, planned: Iterable[str]) -> list[str]:
    """The planned tasks on which models of a task can be tested: one of each other dataset that fits.

    A dataset fits if its images are of the same modality, synthetic or real alike, and its labels hold COVID or lesions
    too. Of several such tasks of a dataset the first planned one is taken, since they share images and lesions.
    """
    first: dict[str, str] = {}
    for other in planned:
        if dataset_of(other) != dataset_of(name) and _fit(name, other):
            first.setdefault(dataset_of(other), other)
    return list(first.values())


def _fit(one: str, other: str) -> bool:
    tasks, cards = [TASKS[name] for name in (one, other)], [DATASETS[dataset_of(name)].CARD for name in (one, other)]
    alike = [{task.kind for task in tasks}, {card.modality for card in cards}]
    alike.append({card.synthetic for card in cards})
    return all(len(values) == 1 for values in alike) and all(share_labels(task).any() for task in tasks)


def share_labels(task: Task) -> np.ndarray:
    """Class number in SHARED of each class of a task: uint8, (C,), 1 for COVID or for lesions."""
    found = (COVID,) if task.kind == CLASSIFICATION else task.lesions
    return np.array([name in found for name in task.classes], np.uint8)


def external_folder(task: str, protocol: str, architecture: str, external: str) -> str:
    """Where predictions and scores of a model on another task's images lie, all seeds together.

    Args:
        task: of the model.
        protocol: of the model.
        architecture: of the model.
        external: the task that it is tested on.

    Returns:
        The folder, relative to the working directory.
    """
    return f"results/external/{task}/{protocol}/{architecture}/{external}"


def select_unseen(
    rows: pd.DataFrame, duplicates: pd.DataFrame, name: str, external: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The images of another task that are new to a task's models, as a test fold, and how many there were.

    Left out are duplicates of any image of the models' dataset, and all images of groups with such a duplicate.

    Args:
        rows: schema.INDEX_COLUMNS of the images that `external` uses, with group and duplicate_set as in a split.
        duplicates: audit.duplicates.DUPLICATE_COLUMNS between both datasets.
        name: the models' task.
        external: the task that they are tested on.

    Returns:
        Rows of schema.SPLIT_COLUMNS, labels as in SHARED; and counts of `usable`, `duplicates` and `removed` images.
    """
    task = TASKS[external]
    mine, theirs = dataset_of(name), dataset_of(external)
    duplicated = rows["image_id"].isin(duplicates["image_id" if theirs < mine else "other_id"])
    known = rows["group"].isin(rows.loc[duplicated, "group"])
    unseen = rows[~known].reset_index(drop=True)
    labels = dict(zip(task.classes, share_labels(task).tolist(), strict=True))
    numbers = unseen["label"].map(labels) if task.kind == CLASSIFICATION else -1
    unseen = unseen.assign(copy=0, label=numbers, fold="test")
    counts = {"usable": len(rows), "duplicates": int(duplicated.sum()), "removed": int(known.sum())}
    return unseen[list(SPLIT_COLUMNS)].astype({"label": "int64"}), counts


def share_probabilities(probabilities: np.ndarray, task: Task) -> np.ndarray:
    """Class probabilities of a task, (N, C), as those of SHARED: float64, (N, 2), the classes of each summed."""
    positive = probabilities[:, share_labels(task) == 1].sum(axis=1, dtype=np.float64).clip(0, 1)
    return np.column_stack([1 - positive, positive])
