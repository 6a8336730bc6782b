"""A head on a frozen MobileNetV2: features of eight views kept, against the whole network in every epoch"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from typing import Any

from bench.loader import draw_images, make_fold
from bench.processes import call_fresh
from bench.rows import Row

TRAIN, VAL, SIDE, EPOCHS = 1000, 250, 224, 20
HEADS = {"average_pool": ">= 5", "dense_512_64": ""}


def measure() -> list[Row]:
    """A whole training of 1,000 images and 20 epochs each way, from an empty cache and then from a full one."""
    return [row for head in HEADS for row in _compare(head)]


def _compare(head: str) -> list[Row]:
    literal = call_fresh("bench.frozen_views:time_training", head, "every_epoch", 1)[0]
    empty, full = call_fresh("bench.frozen_views:time_training", head, 8, 2)
    note = f"{TRAIN} images and {VAL} to validate, {EPOCHS} epochs, batch 32; one training each"
    if not HEADS[head]:
        note += "; 32 million parameters of the head are trained either way, which no cache spares"
    return [
        Row(f"head {head}, first seed", empty, literal, "s", literal / empty, HEADS[head], note),
        Row(f"head {head}, another seed or head", full, literal, "s", literal / full, "", "features are there already"),
    ]


def time_training(head: str, views: int | str, times: int) -> list[float]:
    """Seconds of trainings with seeds 0, 1, … one after the other, in a folder of their own."""
    from covbench.models.batch_norm import fused_batch_norm
    from covbench.models.classifier import build_classifier
    from covbench.protocols import PUBLISHED, protocol_options
    from covbench.schema import Task
    from covbench.training import seed_everything, train_model

    options = protocol_options(PUBLISHED, Task("drawn", "classification", ("dark", "bright"), positive="bright"))
    options = replace(options, size=SIDE, head=head, views=views, head_epochs=EPOCHS, patience=0)
    train, val = _split(make_fold(draw_images(TRAIN + VAL, SIDE)))
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for seed in range(times):
            seed_everything(0, deterministic=True)  # random weights, the same ones: they stand for ImageNet's
            model = build_classifier("mobilenetv2", SIDE, 2, head, "unit", None)
            started = time.perf_counter()
            with fused_batch_norm():
                train_model(model, train, val, options, seed, lambda curves: None)
            seconds.append(time.perf_counter() - started)
    return seconds


def _split(fold: Any) -> list[Any]:
    parts = slice(TRAIN), slice(TRAIN, None)
    return [
        replace(fold, positions=fold.positions[p], rows=fold.rows[p].reset_index(drop=True), keys=fold.keys[p])
        for p in parts
    ]
