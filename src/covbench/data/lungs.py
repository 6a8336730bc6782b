"""The lungs of a task's images on the grid of its prepared arrays: as shipped with the dataset, or else as found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from covbench.data.datasets import DATASETS, TASKS, dataset_of, usable_rows
from covbench.data.fetched_files import require_fetched
from covbench.data.masks import pack_masks
from covbench.data.pictures import read_labels
from covbench.data.resizing import resize_mask
from covbench.models.lungs import find_lungs
from covbench.models.xray_lungs import find_xray_lungs
from covbench.schema import Card, Column

LUNG_FINDERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"ct": find_lungs, "xray": find_xray_lungs}
"""Modality -> from an image, uint8, (H, W), 0-255 grey, to its lungs, bool, (H, W)."""
PLAUSIBLE = (0.05, 0.7)
"""Smallest and largest share of an image that lungs can take."""
SHIPPED, FOUND, NOWHERE = "shipped", "found", "none"
LUNG_COLUMNS = {
    "image_id": Column("str", "as in the index"),
    "origin": Column("str", "shipped with the dataset, found by a classical segmentation, or none: nothing plausible"),
    "area": Column("float64", "share of the image"),
    "dice": Column("float64", "of the classical segmentation with a shipped mask, 0 if it finds none; empty: no such"),
}
BRIGHT = 127  # a pixel above this is lung in a shipped mask


def prepare_lungs(
    name: str, index: pd.DataFrame, raw: Path, images: np.ndarray, masks: np.ndarray | None = None
) -> tuple[np.ndarray, pd.DataFrame]:
    """Find the lungs of a task's prepared images.

    Args:
        name: of the task.
        index: schema.INDEX_COLUMNS of its dataset.
        raw: the dataset's folder in data/raw.
        images: uint8, (N, H, H), 0-255 grey, the prepared images.
        masks: uint8, (N, H, H), the prepared masks of a task whose classes mark the lungs; else None.

    Returns:
        The lungs, one bit per pixel as data.masks.pack_masks packs them; and LUNG_COLUMNS.
    """
    card = DATASETS[dataset_of(name)].CARD
    rows = usable_rows(index, TASKS[name])
    paths = _list_shipped(rows, raw, card) if masks is None else [""] * len(rows)
    packed, facts = [], []
    for number, path in enumerate(tqdm(paths, unit="image")):
        shipped = masks[number] > 0 if masks is not None else None
        if path:
            shipped = resize_mask((read_labels(raw / path, "") > BRIGHT).astype(np.uint8), images.shape[1]) > 0
        found = _find_plausible(np.asarray(images[number]), LUNG_FINDERS[card.modality])
        mask, *fact = _choose_mask(found, shipped)
        packed.append(pack_masks(mask))
        facts.append(fact)
    table = pd.DataFrame(facts, columns=[*LUNG_COLUMNS][1:])
    return np.stack(packed), pd.concat([rows[["image_id"]], table], axis=1)


def _list_shipped(rows: pd.DataFrame, raw: Path, card: Card) -> list[str]:
    """List the lung mask that was fetched with each image, relative to `raw`; empty where there is none."""
    if card.lung_mask is None:
        return [""] * len(rows)
    named = map(card.lung_mask, rows["path"])
    paths = [path if path and (raw / path).is_file() else "" for path in named]
    require_fetched(raw, {path for path in paths if path})
    return paths


def _find_plausible(image: np.ndarray, find: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    found = find(image)
    smallest, largest = PLAUSIBLE
    return found if smallest <= found.mean() <= largest else np.zeros_like(found)


def _choose_mask(found: np.ndarray, shipped: np.ndarray | None) -> tuple[np.ndarray, str, float, float]:
    """The shipped mask, or else the one that was found, with the facts of LUNG_COLUMNS."""
    mask = found if shipped is None else shipped
    origin = NOWHERE if not mask.any() else FOUND if shipped is None else SHIPPED
    dice = measure_dice(found, shipped) if shipped is not None and shipped.any() else np.nan
    return mask, origin, float(mask.mean()), dice


def measure_dice(one: np.ndarray, other: np.ndarray) -> float:
    """Compute the Dice coefficient of two masks, bool, (H, W), of which one marks something."""
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))
