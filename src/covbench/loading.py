"""Prepared arrays and a split's rows -> batches for Keras, augmented, in an order that seed and epoch decide."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import keras
import numpy as np
import pandas as pd

from covbench.augmentation import AUGMENTATIONS, Augmentation, augment, image_key

_POOL = ThreadPoolExecutor(min(4, os.cpu_count() or 1))
COPY_EPOCH = 2**31  # epochs never get there: augmented copies of a published split look the same in every epoch


@dataclass(frozen=True)
class Fold:
    """The images of one fold, not yet decoded into memory.

    images: uint8, (N, H, W), 0-255, memory-mapped. masks: uint8, (N, H, W), class numbers, or None.
    positions: int64, (R,), where each row of the fold stands in `images`.
    rows: the split's rows, (R,), in the same order. classes: number of classes.
    """

    images: np.ndarray
    masks: np.ndarray | None
    positions: np.ndarray
    rows: pd.DataFrame
    classes: int
    keys: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    @cached_property
    def labels(self) -> np.ndarray:
        """Class numbers, int64, (R,)."""
        return self.rows["label"].to_numpy()

    def __len__(self) -> int:
        return len(self.positions)


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
    places = pd.Series(np.arange(len(prepared)), index=prepared["image_id"])
    keys = np.array([image_key(i, c) for i, c in zip(rows["image_id"], rows["copy"], strict=True)], np.int64)
    return Fold(images, masks, places.loc[rows["image_id"]].to_numpy(), rows, classes, keys)


class Batches(keras.utils.PyDataset):
    """Batches of a fold: x uint8 (B, H, W, 3) 0-255; y one-hot float32 (B, C), or uint8 (B, H, W, C) for masks."""

    def __init__(
        self,
        fold: Fold,
        batch_size: int,
        seed: int,
        epoch: int = 0,
        augmentation: Augmentation = AUGMENTATIONS["none"],
        copies: Augmentation = AUGMENTATIONS["none"],
        shuffle: bool = False,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self.fold, self.batch_size, self.seed, self.epoch = fold, batch_size, seed, epoch
        self.augmentation, self.copies = augmentation, copies
        self.order = np.random.default_rng([seed, epoch]).permutation(len(fold)) if shuffle else np.arange(len(fold))

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.order[number * self.batch_size : (number + 1) * self.batch_size]
        pairs = list(_POOL.map(self._load, chosen))
        x = np.stack([image for image, _ in pairs])
        return np.repeat(x[..., None], 3, axis=-1), self._targets(chosen, [mask for _, mask in pairs])

    def _load(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        place = self.fold.positions[row]
        image = self.fold.images[place]
        mask = None if self.fold.masks is None else self.fold.masks[place]
        key = int(self.fold.keys[row])
        if self.fold.rows["copy"].iat[row] > 0:
            image, mask = augment(image, mask, self.copies, (0, COPY_EPOCH, key))
        return augment(image, mask, self.augmentation, (self.seed, self.epoch, key))

    def _targets(self, chosen: np.ndarray, masks: Sequence[np.ndarray | None]) -> np.ndarray:
        if self.fold.masks is None:
            return np.eye(self.fold.classes, dtype=np.float32)[self.fold.labels[chosen]]
        return np.eye(self.fold.classes, dtype=np.uint8)[np.stack(masks)]  # type: ignore[arg-type]
