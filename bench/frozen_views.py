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

SIDE, EPOCHS = 224, 20
TRAIN = {"average_pool": 1000, "dense_512_64": 200}  # images; a quarter as many validate


def measure() -> list[Row]:
    """Train once with the whole network, once from an empty cache and once from a full cache."""
    return [*_compare("average_pool", ">= 5"), *_compare("dense_512_64", "")]


def _compare(head: str, bar: str) -> list[Row]:
    literal = call_fresh("bench.frozen_views:time_training", head, "every_epoch", 1)[0]
    empty, full = call_fresh("bench.frozen_views:time_training", head, 8, 2)
    size = f"{TRAIN[head]} images, {EPOCHS} epochs, batch 32, one training each"
    if not bar:
        size += "; the head's 32 million parameters are trained either way, which a cache does not avoid"
    sides = {"empty cache": (empty, bar), "another seed or head, full cache": (full, "")}
    return [
        Row(
            f"head {head}, {cache}",
            ours["wall"],
            literal["wall"],
            "s",
            literal["wall"] / ours["wall"],
            limit,
            f"{size}; of the processor {ours['cpu']:.0f} against {literal['cpu']:.0f} s: "
            f"{literal['cpu'] / ours['cpu']:.1f}",
        )
        for cache, (ours, limit) in sides.items()
    ]


def time_training(head: str, views: int | str, times: int) -> list[dict[str, float]]:
    """Train with the seeds 0, 1, … one after the other in a new folder. Returns `wall` and `cpu` seconds of each."""
    from covbench.models.batch_norm import fused_batch_norm
    from covbench.models.classifier import build_classifier
    from covbench.protocols import PUBLISHED, protocol_options
    from covbench.schema import Task
    from covbench.training.fit import seed_everything, train_model

    options = protocol_options(PUBLISHED, Task("synthetic", "classification", ("dark", "bright"), positive="bright"))
    options = replace(options, size=SIDE, head=head, augmented_views=views, head_epochs=EPOCHS, patience=0)
    train, val = _split(make_fold(draw_images(TRAIN[head] * 5 // 4, SIDE)), TRAIN[head])
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for seed in range(times):
            seed_everything(0, deterministic=True)  # always the same random weights, in place of ImageNet's
            model = build_classifier("mobilenetv2", SIDE, 2, head, "unit", None)
            started = time.perf_counter(), time.process_time()
            with fused_batch_norm():
                train_model(model, train, val, options, seed, lambda curves: None)
            seconds.append({"wall": time.perf_counter() - started[0], "cpu": time.process_time() - started[1]})
    return seconds


def _split(fold: Any, train: int) -> list[Any]:
    parts = slice(train), slice(train, None)
    return [
        replace(fold, positions=fold.positions[p], rows=fold.rows[p].reset_index(drop=True), keys=fold.keys[p])
        for p in parts
    ]
