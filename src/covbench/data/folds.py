"""The rows of a split, found in the prepared arrays, and what was predicted for them; no TensorFlow."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from covbench.data.augmentation import AUGMENTATIONS, augment, image_key
from covbench.system.files import write_predictions

COPY_KEY = (0, 2**31)  # no training epoch gets there: an augmented copy looks the same wherever it is loaded


@dataclass(frozen=True)
class Fold:
    """The images of one fold, not yet decoded into memory.

    images: uint8, (N, H, W), 0-255, memory-mapped. masks: uint8, (N, H, W), class numbers, or None.
    positions: int64, (R,), where each row of the fold stands in `images`.
    rows: the split's rows, (R,), in the same order. classes: number of classes.
    keys: int64, (R,), what augmentation draws from for each row.
    """

    images: np.ndarray
    masks: np.ndarray | None
    positions: np.ndarray
    rows: pd.DataFrame
    classes: int
    keys: np.ndarray

    @cached_property
    def labels(self) -> np.ndarray:
        """Class numbers, int64, (R,)."""
        return self.rows["label"].to_numpy()

    @cached_property
    def copies(self) -> np.ndarray:
        """0 for an image itself, k > 0 for its k-th augmented copy: int64, (R,)."""
        return self.rows["copy"].to_numpy()

    def __len__(self) -> int:
        return len(self.positions)

    def load(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Image and mask of a row, uint8, (H, W); for an augmented copy (published Zenodo splits) both are warped."""
        image = np.asarray(self.images[self.positions[row]])
        mask = None if self.masks is None else np.asarray(self.masks[self.positions[row]])
        if self.copies[row] == 0:
            return image, mask
        return augment(image, mask, AUGMENTATIONS["segmentation"], (*COPY_KEY, int(self.keys[row])))

    def release(self) -> None:
        """Take what was read of memory-mapped arrays out of this process's memory; it stays in the system's cache.

        Without it a training holds its whole dataset after one epoch.
        """
        for array in (self.images, self.masks):
            mapped = getattr(array, "_mmap", None)  # of an np.memmap and its slices
            if isinstance(mapped, mmap.mmap):
                mapped.madvise(mmap.MADV_DONTNEED)

    def load_images(self) -> np.ndarray:
        """All images of the fold at once: uint8, (R, H, W), 0-255."""
        return self._load_all(0)

    def load_masks(self) -> np.ndarray:
        """All masks of the fold at once: uint8, (R, H, W), class numbers. ValueError for a classification task."""
        if self.masks is None:
            raise ValueError("this fold labels images, not pixels")
        return self._load_all(1)

    def _load_all(self, part: int) -> np.ndarray:
        loaded = np.empty((len(self), *self.images.shape[1:]), np.uint8)
        for row in range(len(self)):
            loaded[row] = self.load(row)[part]
        self.release()
        return loaded

    def load_targets(self) -> np.ndarray:
        """What a model should say: class numbers, (R,), or masks, (R, H, W)."""
        return self.labels if self.masks is None else self.load_masks()


def select_fold(
    images: np.ndarray,
    masks: np.ndarray | None,
    prepared: pd.DataFrame,
    split: pd.DataFrame,
    fold: str,
    classes: int,
) -> Fold:
    """The rows of `split` that belong to `fold`, found in the prepared arrays by image_id."""
    rows = split[split["fold"] == fold].reset_index(drop=True)
    positions = pd.Series(np.arange(len(prepared)), index=prepared["image_id"])
    keys = np.array([image_key(i, c) for i, c in zip(rows["image_id"], rows["copy"], strict=True)], np.int64)
    return Fold(images, masks, positions.loc[rows["image_id"]].to_numpy(), rows, classes, keys)


def open_folds(split_path: str, prepared_paths: Sequence[str], names: Sequence[str], classes: int) -> list[Fold]:
    """The named folds of a split over prepared arrays (images.npy, rows.parquet, and masks.npy for segmentation)."""
    paths = {Path(path).name: path for path in prepared_paths}
    images = np.load(paths["images.npy"], mmap_mode="r")
    masks = np.load(paths["masks.npy"], mmap_mode="r") if "masks.npy" in paths else None
    prepared, split = pd.read_parquet(paths["rows.parquet"]), pd.read_parquet(split_path)
    return [select_fold(images, masks, prepared, split, name, classes) for name in names]


def tabulate_predictions(fold: Fold, fold_name: str, seed: int, probabilities: np.ndarray | None) -> pd.DataFrame:
    """Rows as in schema.PREDICTION_COLUMNS, with p_0 … p_{C-1} where probabilities, float, (R, C), are given."""
    table = fold.rows[["image_id", "copy", "patient_id", "source"]].copy()
    table["fold"], table["truth"], table["seed"] = fold_name, fold.labels, seed
    for number in range(0 if probabilities is None else probabilities.shape[1]):
        table[f"p_{number}"] = probabilities[:, number]  # type: ignore[index]
    return table


def write_folds(
    folds: Mapping[str, Fold], predicted: Mapping[str, np.ndarray], seed: int, outputs: Mapping[str, str]
) -> None:
    """Write what was predicted for the named folds, one table after the other, and masks in the same order.

    predicted: by the same names, probabilities, float, (R, C), or class maps, uint8, (R, H, W), where pixels are
    labelled. outputs: paths by `predictions` and, for class maps, `masks`.
    """
    tables, maps = [], []
    for name, fold in folds.items():
        labels_pixels = fold.masks is not None
        tables.append(tabulate_predictions(fold, name, seed, None if labels_pixels else predicted[name]))
        maps += [predicted[name]] if labels_pixels else []
    write_predictions(pd.concat(tables, ignore_index=True), maps, outputs)
