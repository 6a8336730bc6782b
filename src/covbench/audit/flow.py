"""Count the flow of a dataset's images into the folds of a split, by class, as a STARD diagram counts participants.

Bossuyt PM et al., STARD 2015: an updated list of essential items for reporting diagnostic accuracy studies, BMJ
2015;351:h5527, item 19: flow of participants, using a diagram.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from covbench.schema import CLASSIFICATION, FOLDS, Task

SEEN, EXCLUDED, USABLE, IN_NO_FOLD = "seen", "excluded", "usable", "in no fold"
STEPS = (SEEN, EXCLUDED, USABLE, IN_NO_FOLD, *FOLDS)
REASONED = (EXCLUDED, IN_NO_FOLD)
"""Steps that have a row per reason. The others have one."""
OF_NO_TASK, NOT_DRAWN = "no label or mask of this task", "not drawn by this protocol"
NO_CLASS = "no class"


def count_flow(
    index: pd.DataFrame, usable: pd.DataFrame, split: pd.DataFrame, task: Task, published: bool
) -> list[dict[str, Any]]:
    """Count images, patients and groups at each step from the files that were seen to the folds.

    Args:
        index: schema.INDEX_COLUMNS of the task's dataset.
        usable: its rows that the task can use, with what contradictions.add_fates says of them.
        split: schema.SPLIT_COLUMNS. An augmented copy counts as its image.
        task: the task that is split.
        published: whether the dataset publishes patients. Otherwise they are None.

    Returns:
        Rows of the table `flow` without the columns of the split: all classes together, then each class of a
        classification. Files that no class is known of are a class of their own.
    """
    passages = _list_passages(index, usable, split)
    rows = list(_count_steps("", passages, published))
    if task.kind == CLASSIFICATION:
        named = set(passages["class"])
        for name in [*task.classes, *sorted(named - {*task.classes})]:
            rows += _count_steps(name, passages[passages["class"] == name], published)
    return rows


def _list_passages(index: pd.DataFrame, usable: pd.DataFrame, split: pd.DataFrame) -> pd.DataFrame:
    """List every step that an image passes: a row per image and step. Arguments are those of count_flow.

    The columns are step, reason, class, image_id, patient_id and group, which is missing before an image is usable.
    """
    excluded = index[~index["image_id"].isin(usable["image_id"])]
    unused = usable[~usable["image_id"].isin(split["image_id"])]
    steps = [
        index.assign(step=SEEN, reason=""),
        excluded.assign(step=EXCLUDED, reason=excluded["reason"].replace("", OF_NO_TASK)),
        usable.assign(step=USABLE, reason=""),
        unused.assign(step=IN_NO_FOLD, reason=unused["audited"].where(unused["dropped"], NOT_DRAWN)),
    ]
    folds = split.drop(columns="label").merge(usable[["image_id", "label"]], on="image_id")
    steps.append(folds.assign(step=folds["fold"], reason=""))
    passages = pd.concat(steps, ignore_index=True).rename(columns={"label": "class"})
    passages["class"] = passages["class"].replace("", NO_CLASS)
    return passages[["step", "reason", "class", "image_id", "patient_id", "group"]]


def _count_steps(name: str, passages: pd.DataFrame, published: bool) -> Iterator[dict[str, Any]]:
    for step in STEPS:
        here = passages[passages["step"] == step]
        parts = here.groupby("reason") if step in REASONED else [("", here)]
        for reason, rows in parts:
            yield {"class": name, "step": step, "reason": reason, **_count(rows, step, published)}


def _count(rows: pd.DataFrame, step: str, published: bool) -> dict[str, Any]:
    """Count the distinct images, patients and groups of some rows. A file that names no patient may be of any."""
    named = rows.loc[rows["patient_id"] != rows["image_id"], "patient_id"]
    patients = named if step in (SEEN, EXCLUDED) else rows["patient_id"]
    return {
        "images": rows["image_id"].nunique(),
        "patients": patients.nunique() if published else None,
        "groups": None if step in (SEEN, EXCLUDED) else rows["group"].nunique(),
    }
