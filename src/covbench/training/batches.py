"""Make batches for Keras from a fold: augmented, and in an order that seed and epoch decide."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import cv2
import keras
import numpy as np

from covbench.data.augmentation import AUGMENTATIONS, Augmentation, augment
from covbench.data.folds import Fold

_THREADS = min(4, os.cpu_count() or 1)
_POOL = ThreadPoolExecutor(_THREADS)


class Batches(keras.utils.PyDataset):
    """Batches of a fold: x uint8 (B, H, W, 3) 0-255; y one-hot float32 (B, C), or uint8 (B, H, W, C) for masks.

    first: number of micro-batches to leave out at the start, to resume inside an epoch. micro_batches: number of
    micro-batches that each batch is cut into. Their gradients are accumulated.
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
        micro_batches: int = 1,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self.fold, self.batch_size, self.seed, self.epoch = fold, batch_size, seed, epoch
        self.augmentation = augmentation
        order = np.random.default_rng([seed, epoch]).permutation(len(fold)) if shuffle else np.arange(len(fold))
        whole = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        whole = [np.resize(rows, max(len(rows), micro_batches)) for rows in whole]  # no micro-batch may be empty
        self.chosen = [part for rows in whole for part in np.array_split(rows, micro_batches)][first:]

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.chosen[number]
        images, masks = self.load(chosen)
        return images, self._targets(chosen, masks)

    def load(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Load and augment rows of the fold: images as in a batch, and masks, uint8, (B, H, W), class numbers."""
        images = np.empty((len(chosen), *self.fold.images.shape[1:]), np.uint8)
        masks = None if self.fold.masks is None else np.empty_like(images)

        def fill(first: int) -> None:  # a share of the batch per thread: a task per image costs as much as its warp
            for position in range(first, len(chosen), _THREADS):
                images[position], mask = self._load(chosen[position])
                if masks is not None:
                    masks[position] = mask

        list(_POOL.map(fill, range(_THREADS)))
        self.fold.release()
        return _repeat_grey(images), masks

    def _load(self, row: int) -> tuple[np.ndarray, np.ndarray | None]:
        return augment(*self.fold.load(row), self.augmentation, (self.seed, self.epoch, int(self.fold.keys[row])))

    def _targets(self, chosen: np.ndarray, masks: np.ndarray | None) -> np.ndarray:
        if masks is None:
            return np.eye(self.fold.classes, dtype=np.float32)[self.fold.labels[chosen]]
        return np.eye(self.fold.classes, dtype=np.uint8).take(masks, axis=0)  # ten times as fast as [masks]


def _repeat_grey(images: np.ndarray) -> np.ndarray:
    """Repeat grey as RGB: (B, H, W) -> (B, H, W, 3). OpenCV is twenty times as fast as np.repeat."""
    return cv2.cvtColor(images.reshape(-1, images.shape[-1]), cv2.COLOR_GRAY2RGB).reshape(*images.shape, 3)
