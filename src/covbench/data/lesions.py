"""Where the images of a task show lesions, on the grid of its prepared arrays: as marked by the dataset's authors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from covbench.data.datasets import DATASETS, TASKS, dataset_of, usable_rows
from covbench.data.masks import pack_masks
from covbench.data.resizing import resize_mask

REGIONS = ("lungs", "lesions")
LUNGS, LESIONS = REGIONS


def prepare_lesions(name: str, index: pd.DataFrame, raw: Path, side: int) -> dict[str, np.ndarray]:
    """Read the lesion masks that come with a task's images.

    Args:
        name: of the task.
        index: schema.INDEX_COLUMNS of its dataset.
        raw: the dataset's folder in data/raw.
        side: of the prepared images, pixels.

    Returns:
        `rows`, int64, (K,), the prepared images with a mask that marks something, in ascending order; `masks`, uint8,
        (K, side, ceil(side / 8)), one bit per pixel.
    """
    read, paths = DATASETS[dataset_of(name)].CARD.lesion_mask, usable_rows(index, TASKS[name])["path"]
    found = {}
    for row, mask in enumerate(read(raw, path) for path in paths) if read else ():
        if mask is not None and (resized := resize_mask(mask.astype(np.uint8), side) > 0).any():
            found[row] = pack_masks(resized)
    masks = np.stack([*found.values()]) if found else np.zeros((0, side, -(-side // 8)), np.uint8)
    return {"rows": np.array([*found], np.int64), "masks": masks}


def open_lesions(path: Path | str) -> dict[int, np.ndarray]:
    """Open what prepare_lesions has made: packed masks, uint8, (H, ceil(W / 8)), by the row of the prepared image."""
    with np.load(path) as prepared:
        return dict(zip(prepared["rows"].tolist(), prepared["masks"], strict=True))


def keep_explained(focus: pd.DataFrame) -> pd.DataFrame:
    """Keep the maps that a region can explain: all for lungs, those of right answers for lesions.

    A healthy chest has no lesion to look at. focus: training.focus.FOCUS_COLUMNS.
    """
    return focus[(focus["region"] == LUNGS) | (focus["truth"] == focus["predicted"])]
