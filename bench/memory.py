"""Peak memory of a training on 15,000 images, against one on 500"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.loader import draw_images, make_fold
from bench.processes import call_fresh
from bench.rows import Row
from covbench.data.datasets import TASKS
from covbench.protocols import AUDITED, protocol_options
from covbench.system.usage import peak_memory_mb

SIDE, FEW, MANY, ARCHITECTURE = 240, 500, 15_000, "small_resnet"


def measure() -> list[Row]:
    """Train one epoch on every image of a prepared array, in a separate process for each size."""
    with tempfile.TemporaryDirectory() as folder:
        few, many = (
            call_fresh("bench.memory:train", write_images(Path(folder) / "images.npy", n)) for n in (FEW, MANY)
        )
    size = MANY * SIDE**2 / 2**20
    note = f"{ARCHITECTURE}, {SIDE} x {SIDE}, batch 32, whole resident memory; the array alone is {size:.0f} MiB"
    return [Row(f"{MANY:,} against {FEW} X-rays", many, few, "MiB", many - few, "<= 300", note)]


def write_images(path: Path, count: int) -> str:
    """Write a prepared array of synthetic images. The process whose memory is measured must not do this itself."""
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (count, SIDE, SIDE))
    images = draw_images(250, SIDE)
    for start in range(0, count, len(images)):
        array[start : start + len(images)] = images
    return str(path)


def train(path: str) -> int:
    """Train an epoch on all images of a file. Returns the peak resident memory in MiB, mapped files included."""
    from covbench.models.classifier import build_classifier
    from covbench.training.fit import train_model

    images = np.load(path, mmap_mode="r")
    fold = make_fold(images)
    options = replace(protocol_options(AUDITED, TASKS["phantom_xray"]), size=SIDE, head_epochs=0, fine_tune_epochs=1)
    model = build_classifier(ARCHITECTURE, SIDE, fold.classes, options.head, options.scaling)
    train_model(model, fold, make_fold(images[:64]), options, 0, lambda curves: None)
    return peak_memory_mb()
