"""Find the rows of a split in the prepared arrays, and tabulate what was predicted for them, without TensorFlow."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from covbench.data.augmentation import AUGMENTATIONS, augment, image_key
from covbench.schema import LABELS_ONLY, PREDICTION_COLUMNS, SPLIT_COLUMNS
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

    @property
    def slots(self) -> np.ndarray:
        """Where features of each row are kept, a number for each image of the array and copy: int64, (R,)."""
        return self.positions + len(self.images) * self.copies

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, rows: np.ndarray) -> Fold:
        """Take some rows, int64, (K,), by their numbers."""
        table = self.rows.iloc[rows].reset_index(drop=True)
        return Fold(self.images, self.masks, self.positions[rows], table, self.classes, self.keys[rows])

    def load(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Load the image and the mask of a row, uint8, (H, W) each, as `show` shows them."""
        image = np.asarray(self.images[self.positions[row]])
        mask = None if self.masks is None else np.asarray(self.masks[self.positions[row]])
        return self.show(row, image, mask)

    def show(self, row: int, image: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Show the image and the mask of a row, at any size, as the row shows them: warped if it is an augmented copy.

        Args:
            row: number of the row.
            image: uint8, (H, W), 0-255 grey.
            mask: uint8, (H, W), class numbers; None for classification.

        Returns:
            Image and mask, with the shapes of the arguments.
        """
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
    images, masks, prepared = open_prepared(prepared_paths)
    split = pd.read_parquet(split_path)
    return [select_fold(images, masks, prepared, split, name, classes) for name in names]


def open_prepared(paths: Sequence[str]) -> tuple[np.ndarray, np.ndarray | None, pd.DataFrame]:
    """Open images.npy, masks.npy if pixels are labelled, and rows.parquet. The arrays are memory-mapped."""
    files = {Path(path).name: path for path in paths}
    images = np.load(files["images.npy"], mmap_mode="r")
    masks = np.load(files["masks.npy"], mmap_mode="r") if "masks.npy" in files else None
    return images, masks, pd.read_parquet(files["rows.parquet"])


def open_truth(predictions: pd.DataFrame, rows_path: Path | str, masks_path: Path | str, classes: int) -> Fold:
    """Open the annotated masks of predicted test rows. Scoring needs no images, so the masks take their place.

    Args:
        predictions: schema.PREDICTION_COLUMNS.
        rows_path: rows.parquet of the prepared arrays.
        masks_path: masks.npy beside it.
        classes: number of classes C.

    Returns:
        The test fold.
    """
    masks = np.load(masks_path, mmap_mode="r")
    return select_fold(masks, masks, pd.read_parquet(rows_path), predictions, "test", classes)


def tabulate_predictions(
    fold: Fold, fold_name: str, seed: int, probabilities: np.ndarray | None, logits: np.ndarray | None = None
) -> pd.DataFrame:
    """Tabulate what was predicted for a fold.

    Args:
        fold: the fold, with R rows.
        fold_name: name of the fold.
        seed: seed of the run.
        probabilities: float, (R, C), with sum 1 in each row; None for segmentation.
        logits: float32, (R, C); None where the study did not round them.

    Returns:
        A table with schema.PREDICTION_COLUMNS, the columns p_0 to p_(C-1) if there are probabilities, and logit_0 to
        logit_(C-1) if there are logits.
    """
    table = fold.rows[[name for name in PREDICTION_COLUMNS if name in SPLIT_COLUMNS and name != "fold"]].copy()
    table["fold"], table["truth"], table["seed"] = fold_name, fold.labels, seed
    for name, values in (("p", probabilities), ("logit", logits)):
        for number in range(0 if values is None else values.shape[1]):
            table[f"{name}_{number}"] = values[:, number]  # type: ignore[index]
    return table


class ClassMaps(NamedTuple):
    """Predicted masks.

    numbers: uint8, (R, H, W), the most probable class. unsure: one bit per pixel, uint8, (R, H, ceil(W / 8)), set where
    no class has more than half the probability; None if the model gives no probabilities.
    """

    numbers: np.ndarray
    unsure: np.ndarray | None = None


def count_subjects(rows: pd.DataFrame, patients_published: bool) -> dict[str, int | None]:
    """Count the patients and the groups of a fold's rows. `patients` is None where the dataset publishes none."""
    patients = int(rows["patient_id"].nunique()) if patients_published else None
    return {"patients": patients, "groups": int(rows["group"].nunique())}


class Predicted(NamedTuple):
    """What a model predicted for a fold.

    fold: with R rows. name: of the fold. seed: of the run. values: probabilities, float, (R, C), or for segmentation
    class maps. logits: float32, (R, C); None where the study did not round them.
    """

    fold: Fold
    name: str
    seed: int
    values: np.ndarray | ClassMaps
    logits: np.ndarray | None = None


def write_predicted(parts: Sequence[Predicted], outputs: Mapping[str, str], labels_only: bool = False) -> None:
    """Write what was predicted: one table after the other, and class maps in the same order.

    Args:
        parts: what was predicted.
        outputs: the path for `predictions` and, for segmentation, for `masks`.
        labels_only: whether the probabilities only say which class was named.
    """
    tables, maps = [], []
    for fold, name, seed, values, logits in parts:
        if isinstance(values, ClassMaps):
            maps.append(values)
        probabilities = None if isinstance(values, ClassMaps) else values
        tables.append(tabulate_predictions(fold, name, seed, probabilities, logits))
    table = pd.concat(tables, ignore_index=True)
    if labels_only:
        table[LABELS_ONLY] = True
    write_predictions(table, _join_maps(maps), outputs)


def predict_nothing(fold: Fold, classes: int) -> np.ndarray | ClassMaps:
    """Return the values that would be predicted for a fold without images. classes: number of classes."""
    if fold.masks is None:
        return np.empty((0, classes), np.float32)
    return ClassMaps(np.empty((0, *fold.images.shape[1:]), np.uint8))


def _join_maps(maps: Sequence[ClassMaps]) -> dict[str, np.ndarray]:
    """Join the arrays of predicted_masks.npz, by name: `masks`, and `unsure` if the model gives probabilities."""
    unsure = [part.unsure for part in maps if part.unsure is not None]
    arrays = {"masks": [part.numbers for part in maps], "unsure": unsure}
    return {name: np.concatenate(parts) for name, parts in arrays.items() if parts}
