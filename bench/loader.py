"""Images per second into training, against the study's own way"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from bench.rows import Row
from covbench.data.augmentation import AUGMENTATIONS
from covbench.data.folds import select_fold
from covbench.training.batches import Batches

IMAGES, BATCH, REPETITIONS = 384, 32, 5


def measure() -> list[Row]:
    """Load batches of 32 augmented images at 224 and 240, in turn by our loader and by ImageDataGenerator from PNGs."""
    return [_compare(side) for side in (224, 240)]


def _compare(side: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        images = draw_images(IMAGES, side)
        generator = _study_generator(Path(folder), images)
        np.save(Path(folder) / "images.npy", images)
        fold = make_fold(np.load(Path(folder) / "images.npy", mmap_mode="r"))
        ours, study = [], []
        for epoch in range(REPETITIONS):
            ours.append(_rate(_our_batches(fold, epoch)))
            study.append(_rate(next(generator) for _ in range(IMAGES // BATCH)))
    mine, theirs = statistics.median(ours), statistics.median(study)
    note = f"ImageDataGenerator.flow_from_directory, affine, batch {BATCH}; {IMAGES} PNGs; {REPETITIONS} turns each"
    return Row(f"augmented images at {side}", mine, theirs, "images/s", mine / theirs, ">= 8", note)


def draw_images(count: int, side: int) -> np.ndarray:
    """Generate smooth grey images that compress as X-rays do: uint8, (count, side, side), 0-255."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 16, 16)).astype(np.float32)
    smooth = [cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC) for image in coarse]
    return np.clip(np.stack(smooth) + rng.normal(0, 4, (count, side, side)), 0, 255).astype(np.uint8)


def make_fold(images: np.ndarray, classes: int = 2) -> Any:
    """Make one training fold of all images, with the labels in turn."""
    ids = [f"image{number}" for number in range(len(images))]
    prepared = pd.DataFrame({"image_id": ids})
    labels = np.arange(len(images)) % classes
    split = pd.DataFrame(
        {"image_id": ids, "copy": 0, "patient_id": ids, "source": "", "label": labels, "fold": "train"}
    )
    return select_fold(images, None, prepared, split, "train", classes)


def _study_generator(folder: Path, images: np.ndarray) -> Any:
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    for number, image in enumerate(images):
        class_folder = folder / "png" / str(number % 2)
        class_folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(class_folder / f"{number}.png"), image)
    generator = ImageDataGenerator(
        rotation_range=20,
        width_shift_range=0.2,
        height_shift_range=0.2,
        shear_range=0.2,
        zoom_range=0.2,
        horizontal_flip=True,
        rescale=1 / 255,
    )
    side = images.shape[1]
    return generator.flow_from_directory(str(folder / "png"), target_size=(side, side), batch_size=BATCH, seed=0)


def _our_batches(fold: Any, epoch: int) -> Iterator[Any]:
    batches = Batches(fold, BATCH, seed=0, epoch=epoch, augmentation=AUGMENTATIONS["affine"], shuffle=True)
    return (batches[number] for number in range(len(batches)))


def _rate(batches: Iterator[Any]) -> float:
    started = time.perf_counter()
    count = sum(len(x) for x, _ in batches)
    return count / (time.perf_counter() - started)
