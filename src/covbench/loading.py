"""Prepared arrays and a split's rows -> batches for Keras, augmented, in an order that seed and epoch decide."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np

from covbench.augmentation import AUGMENTATIONS, Augmentation, augment
from covbench.folds import Fold

_POOL = ThreadPoolExecutor(min(4, os.cpu_count() or 1))


class Batches(keras.utils.PyDataset):
    """Batches of a fold: x uint8 (B, H, W, 3) 0-255; y one-hot float32 (B, C), or uint8 (B, H, W, C) for masks.

    first: (micro-)batches to leave out at the start, to go on inside an epoch. parts: each batch comes in that many
    micro-batches, for gradients that are accumulated.
    """

    def __init__(
        self,
        fold: Fold,
        batch_size: int,
        seed: int,
        epoch: int = 0,
        augmentation: Augmentation = AUGMENTATIONS["none"],
        shuffle: bool = False,
        first: int = 0,
        parts: int = 1,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self.fold, self.batch_size, self.seed, self.epoch = fold, batch_size, seed, epoch
        self.augmentation = augmentation
        order = np.random.default_rng([seed, epoch]).permutation(len(fold)) if shuffle else np.arange(len(fold))
        whole = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        whole = [np.resize(rows, max(len(rows), parts)) for rows in whole]  # a lone image stands in every part
        self.chosen = [part for rows in whole for part in np.array_split(rows, parts)][first:]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.chosen[number]
        pairs = list(_POOL.map(self._load, chosen))
        x = np.stack([image for image, _ in pairs])
        return np.repeat(x[..., None], 3, axis=-1), self._targets(chosen, [mask for _, mask in pairs])

    def _load(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        return augment(*self.fold.load(row), self.augmentation, (self.seed, self.epoch, int(self.fold.keys[row])))

    def _targets(self, chosen: np.ndarray, masks: Sequence[np.ndarray | None]) -> np.ndarray:
        if self.fold.masks is None:
            return np.eye(self.fold.classes, dtype=np.float32)[self.fold.labels[chosen]]
        return np.eye(self.fold.classes, dtype=np.uint8)[np.stack(masks)]  # type: ignore[arg-type]
