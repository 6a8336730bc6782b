"""Find the rows of a split in the prepared arrays, and tabulate what was predicted for them, without TensorFlow."""

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

COPY_KEY = (0, 2**31)  # seed and epoch of augmented copies; no training reaches this epoch


@dataclass(frozen=True)
class Fold:
    """The images of one fold, which are decoded only when they are loaded.

    images: uint8, (N, H, W), 0-255 grey, memory-mapped.
    masks: uint8, (N, H, W), class numbers; None for classification.
    positions: int64, (R,), the position in `images` of each row of the fold.
    rows: the split's rows, (R,), in the same order.
    classes: number of classes C.
    keys: int64, (R,), the image_key of each row, which seeds its augmentation.
    """

    images: np.ndarray
    masks: np.ndarray | None
    positions: np.ndarray
    rows: pd.DataFrame
    classes: int
    keys: np.ndarray

    @cached_property
    def labels(self) -> np.ndarray:
        """The class number of each row: int64, (R,)."""
        return self.rows["label"].to_numpy()

    @cached_property
    def copies(self) -> np.ndarray:
        """The copy number of each row, 0 for an image itself and k > 0 for its k-th augmented copy: int64, (R,)."""
        return self.rows["copy"].to_numpy()

    def __len__(self) -> int:
        return len(self.positions)

    def load(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Load the image and the mask of a row, uint8, (H, W) each.

        Both are warped if the row is an augmented copy (published Zenodo splits).
        """
        image = np.asarray(self.images[self.positions[row]])
        mask = None if self.masks is None else np.asarray(self.masks[self.positions[row]])
        if self.copies[row] == 0:
            return image, mask
        return augment(image, mask, AUGMENTATIONS["segmentation"], (*COPY_KEY, int(self.keys[row])))

    def release(self) -> None:
        """Drop what was read of memory-mapped arrays from this process's memory. It stays in the system's cache.

        Without this a training would hold its whole dataset after one epoch.
        """
        for array in (self.images, self.masks):
            mapped = getattr(array, "_mmap", None)  # of an np.memmap and its slices
            if isinstance(mapped, mmap.mmap):
                mapped.madvise(mmap.MADV_DONTNEED)

    def load_images(self) -> np.ndarray:
        """Load all images of the fold: uint8, (R, H, W), 0-255 grey."""
        return self._load_all(0)

    def load_masks(self) -> np.ndarray:
        """Load all masks of the fold: uint8, (R, H, W), class numbers. Raises ValueError for a classification task."""
        if self.masks is None:
            raise ValueError("this fold has no masks: its task is a classification")
        return self._load_all(1)

    def _load_all(self, item: int) -> np.ndarray:
        loaded = np.empty((len(self), *self.images.shape[1:]), np.uint8)
        for row in range(len(self)):
            loaded[row] = self.load(row)[item]
        self.release()
        return loaded

    def load_targets(self) -> np.ndarray:
        """Load what a model should predict: class numbers, int64, (R,), or masks, uint8, (R, H, W)."""
        return self.labels if self.masks is None else self.load_masks()


def select_fold(
    images: np.ndarray,
    masks: np.ndarray | None,
    prepared: pd.DataFrame,
    split: pd.DataFrame,
    fold: str,
    classes: int,
) -> Fold:
    """Select the rows of a split that belong to a fold, and find them in the prepared arrays by image_id.

    Args:
        images: uint8, (N, H, W), 0-255 grey.
        masks: uint8, (N, H, W), class numbers; None for classification.
        prepared: a row per prepared image, in the order of the arrays, with image_id.
        split: schema.SPLIT_COLUMNS.
        fold: name of the fold: train, val or test.
        classes: number of classes C.

    Returns:
        The fold.
    """
    rows = split[split["fold"] == fold].reset_index(drop=True)
    positions = pd.Series(np.arange(len(prepared)), index=prepared["image_id"])
    keys = np.array([image_key(i, c) for i, c in zip(rows["image_id"], rows["copy"], strict=True)], np.int64)
    return Fold(images, masks, positions.loc[rows["image_id"]].to_numpy(), rows, classes, keys)


def open_folds(split_path: str, prepared_paths: Sequence[str], names: Sequence[str], classes: int) -> list[Fold]:
    """Open the named folds of a split over prepared arrays.

    Args:
        split_path: the split's Parquet file.
        prepared_paths: paths of images.npy, rows.parquet and, for segmentation, masks.npy.
        names: names of the folds: train, val, test.
        classes: number of classes C.

    Returns:
        The folds, in the order of `names`, over memory-mapped arrays.
    """
    paths = {Path(path).name: path for path in prepared_paths}
    images = np.load(paths["images.npy"], mmap_mode="r")
    masks = np.load(paths["masks.npy"], mmap_mode="r") if "masks.npy" in paths else None
    prepared, split = pd.read_parquet(paths["rows.parquet"]), pd.read_parquet(split_path)
    return [select_fold(images, masks, prepared, split, name, classes) for name in names]


def tabulate_predictions(fold: Fold, fold_name: str, seed: int, probabilities: np.ndarray | None) -> pd.DataFrame:
    """Tabulate what was predicted for a fold.

    Args:
        fold: the fold, with R rows.
        fold_name: name of the fold.
        seed: seed of the run.
        probabilities: float, (R, C), with sum 1 in each row; None for segmentation.

    Returns:
        A table with schema.PREDICTION_COLUMNS, and the columns p_0 to p_(C-1) if there are probabilities.
    """
    table = fold.rows[["image_id", "copy", "patient_id", "source"]].copy()
    table["fold"], table["truth"], table["seed"] = fold_name, fold.labels, seed
    for number in range(0 if probabilities is None else probabilities.shape[1]):
        table[f"p_{number}"] = probabilities[:, number]  # type: ignore[index]
    return table


def write_folds(
    folds: Mapping[str, Fold], predicted: Mapping[str, np.ndarray], seed: int, outputs: Mapping[str, str]
) -> None:
    """Write what was predicted for the named folds: one table after the other, and class maps in the same order.

    Args:
        folds: the folds by name, with R rows each.
        predicted: by the same names, probabilities, float, (R, C), or for segmentation class maps, uint8, (R, H, W).
        seed: seed of the run.
        outputs: the path for `predictions` and, for segmentation, for `masks`.
    """
    tables, maps = [], []
    for name, fold in folds.items():
        labels_pixels = fold.masks is not None
        tables.append(tabulate_predictions(fold, name, seed, None if labels_pixels else predicted[name]))
        maps += [predicted[name]] if labels_pixels else []
    write_predictions(pd.concat(tables, ignore_index=True), maps, outputs)
