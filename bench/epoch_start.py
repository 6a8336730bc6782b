"""Processor seconds of an epoch of two small batches, against one that seeds TensorFlow anew"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace

import numpy as np

from bench.loader import draw_images, make_fold
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
    from covbench.models.classifier import build_classifier
    from covbench.protocols import AUDITED, protocol_options
    from covbench.training.fit import train_model

    options = replace(protocol_options(AUDITED, TASKS["phantom_xray"]), size=SIDE, batch_size=BATCH, head_epochs=0)
    options = replace(options, fine_tune_epochs=EPOCHS, patience=0)
    fold = make_fold(draw_images(IMAGES, SIDE))
    model = build_classifier(name, SIDE, fold.classes, options.head, "own")
    marks: list[float] = []
    train_model(model, fold, fold, options, 0, lambda curves: marks.append(time.process_time()))
    return statistics.median(np.diff(marks).tolist())
