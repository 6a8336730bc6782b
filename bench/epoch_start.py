"""Processor seconds of an epoch of two small batches, against one that seeds TensorFlow anew"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bench.processes import call_fresh
from bench.rows import Row

SIDE, IMAGES, BATCH, EPOCHS = 64, 8, 4, 5
BARS = {"small_cnn": "<= 0.5", "mobilenetv2": "<= 0.5"}
NOTE = f"{IMAGES} images of {SIDE} x {SIDE}, batch {BATCH}, one thread; the first epoch, which traces, is left out"


def measure() -> list[Row]:
    """Train on so few images that an epoch's start is most of it. Each architecture has a process."""
    rows = []
    for name, bar in BARS.items():
        ours, other = call_fresh("bench.epoch_start:compare", name)
        rows.append(Row(f"{name}, an epoch", ours, other, "processor s", ours / other, bar, NOTE))
    return rows


def compare(name: str) -> tuple[float, float]:
    """Measure an epoch as it is, and one that begins with Keras's set_random_seed, which empties TensorFlow's cache."""
    import keras

    from covbench.system.threads import fix_threads
    from covbench.training import epoch as running

    fix_threads(1)
    ours, reseed = _time_epochs(name), running.reseed_layers

    def seed_and_reseed(model: keras.Model, seed: int, epoch: int) -> None:
        keras.utils.set_random_seed(seed + epoch)
        reseed(model, seed, epoch)

    running.reseed_layers = seed_and_reseed
    return ours, _time_epochs(name)


def _time_epochs(name: str) -> float:
    """The median processor seconds of an epoch, training and validation."""
    from covbench.data.datasets import TASKS
    from covbench.data.folds import select_fold
    from covbench.models.catalogue import architecture
    from covbench.models.classifier import build_classifier
    from covbench.models.segmenter import build_segmenter
    from covbench.protocols import AUDITED, protocol_options
    from covbench.schema import CLASSIFICATION
    from covbench.training.fit import train_model

    classifies = architecture(name).kind == CLASSIFICATION
    task = TASKS["phantom_xray" if classifies else "phantom_lesions"]
    options = replace(
        protocol_options(AUDITED, task), size=SIDE, batch_size=BATCH, head_epochs=0, fine_tune_epochs=EPOCHS, patience=0
    )
    images, split = _draw(2 * IMAGES)
    masks = None if classifies else (images > 128).astype(np.uint8)
    rows = split[["image_id"]]
    train, val = (select_fold(images, masks, rows, split, fold, len(task.classes)) for fold in ("train", "val"))
    model: Any
    if classifies:
        model = build_classifier(name, SIDE, len(task.classes), options.head, "own")
    else:
        model = build_segmenter(name, SIDE, len(task.classes), "own", head=options.head)
    marks: list[float] = []
    train_model(model, train, val, options, 0, lambda curves: marks.append(time.process_time()))
    return statistics.median(np.diff(marks).tolist())


def _draw(count: int) -> tuple[np.ndarray, pd.DataFrame]:
    """Noise, uint8, (N, SIDE, SIDE), and a split of it, half to train on."""
    ids = [f"image_{number}" for number in range(count)]
    split = pd.DataFrame({"image_id": ids, "copy": 0, "patient_id": ids, "group": ids, "duplicate_set": ids})
    split = split.assign(source="", label=np.arange(count) % 2, fold=np.resize(["train", "val"], count))
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8), split
