"""Training steps per second with the loader, against one batch that is already in memory"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.loader import draw_images, make_fold
from bench.processes import call_fresh
from bench.rows import Row

SIDE, BATCH = 224, 32
STEPS = {"mobilenetv2": 12, "resnet50": 6}  # an epoch
TURNS = {"mobilenetv2": 12, "resnet50": 4}


def measure() -> list[Row]:
    """Run epochs of both kinds in turn through fit(), as a training does."""
    return [Row(**call_fresh("bench.step_rate:compare", name)) for name in STEPS]


def compare(name: str) -> Row:
    """Measure the steps per second of one architecture, with the loader and with one repeated batch."""
    import tensorflow as tf

    from covbench.data.augmentation import AUGMENTATIONS
    from covbench.models.batch_norm import fused_batch_norm
    from covbench.models.classifier import build_classifier
    from covbench.training.batches import Batches

    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "images.npy", draw_images(STEPS[name] * BATCH, SIDE))
        fold = make_fold(np.load(Path(folder) / "images.npy", mmap_mode="r"))
        model = build_classifier(name, SIDE, 2, "average_pool", "own")
        model.compile("adam", "categorical_crossentropy", jit_compile=False)

        def load(epoch: int) -> Batches:
            return Batches(fold, BATCH, 0, epoch, AUGMENTATIONS["affine"], shuffle=True)

        resident = tf.data.Dataset.from_tensors(load(0)[0]).repeat(STEPS[name])
        with fused_batch_norm():
            for batches in (load(0), resident):
                model.fit(batches, verbose=0)  # traces
            times = [_clock_both(model, load(turn), resident, turn % 2 == 1) for turn in range(TURNS[name])]
    loaded, alone = (STEPS[name] / statistics.median(side) for side in zip(*times, strict=True))
    note = f"affine augmentation, batch {BATCH}, {SIDE} x {SIDE}, fit() on 2 threads; {TURNS[name]} epochs each"
    return Row(f"{name}, steps", loaded, alone, "steps/s", loaded / alone, ">= 0.95", note)


def _clock_both(model: Any, loaded: Any, resident: Any, turned: bool) -> list[float]:
    """Return the seconds of an epoch of each kind. Every other turn, the second kind runs first."""
    if turned:
        return [_clock(model, resident), _clock(model, loaded)][::-1]
    return [_clock(model, loaded), _clock(model, resident)]


def _clock(model: Any, batches: Any) -> float:
    started = time.perf_counter()
    model.fit(batches, verbose=0)
    return time.perf_counter() - started
