"""Training on a GPU in mixed precision, with and without XLA: images/s, share of time busy, peak memory"""

from __future__ import annotations

import math
import statistics
import subprocess
import time

import numpy as np

from bench.processes import call_fresh
from bench.rows import NotHereError, Row

STEPS, WARM_UP, BATCH = 50, 5, 32
SIDES = {"classification": 224, "segmentation": 512}


def measure() -> list[Row]:
    """Train each architecture with and without XLA, each in a separate process. Three rows per architecture."""
    from covbench.models.catalogue import DEFAULT_CLASSIFIERS, DEFAULT_SEGMENTERS

    if not call_fresh("bench.gpu:name_gpu"):
        raise NotHereError("no GPU here")
    return [row for name in (*DEFAULT_CLASSIFIERS, *DEFAULT_SEGMENTERS) for row in _compare(name)]


def name_gpu() -> str:
    """Return the name of the GPU; empty if there is none."""
    from covbench.training.devices import describe_device

    name = describe_device()
    return "" if name == "cpu" else name


def _compare(name: str) -> list[Row]:
    plain = call_fresh("bench.gpu:train", name, False, TF_FORCE_GPU_ALLOW_GROWTH="true")
    try:
        compiled = call_fresh("bench.gpu:train", name, True, TF_FORCE_GPU_ALLOW_GROWTH="true")
        note = "other side: with XLA; ratio: with XLA to without"
    except RuntimeError as error:  # not every network compiles
        compiled, note = [math.nan] * 3, f"XLA: {error}"
    speed, busy, memory = zip(plain, compiled, strict=True)
    return [
        Row(name, *speed, "images/s", speed[1] / speed[0], note=note),
        Row(f"{name}, busy", *busy, "%", math.nan),
        Row(f"{name}, peak memory", *memory, "MB", math.nan),
    ]


def train(name: str, compiled: bool) -> list[float]:
    """Train on one resident batch. Returns images per second, percent of time busy, and peak memory in MB."""
    import keras
    import tensorflow as tf

    from covbench.models.catalogue import architecture
    from covbench.models.classifier import build_classifier
    from covbench.models.losses import build_loss
    from covbench.models.segmenter import build_segmenter
    from covbench.training.devices import set_precision

    set_precision("mixed_bfloat16")
    kind = architecture(name).kind
    side = SIDES[kind]
    images = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3)).astype(np.float32)
    if kind == "classification":
        model, truth = build_classifier(name, side, 2, "average_pool", "own"), np.eye(2)[np.arange(BATCH) % 2]
    else:
        model, truth = build_segmenter(name, side, 2, "own"), np.eye(2)[(images[..., 0] > 127).astype(int)]
    loss = "categorical_crossentropy" if kind == "classification" else "crossentropy_dice"
    model.compile(keras.optimizers.Adam(1e-4), build_loss(loss), jit_compile=compiled)
    resident = tf.data.Dataset.from_tensors((tf.constant(images), tf.constant(truth, tf.float32))).cache().repeat()
    model.fit(resident, steps_per_epoch=WARM_UP, verbose=0)
    tf.config.experimental.reset_memory_stats("GPU:0")
    with subprocess.Popen(
        ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=200"],
        stdout=subprocess.PIPE,
        text=True,
    ) as watch:
        started = time.perf_counter()
        model.fit(resident, steps_per_epoch=STEPS, verbose=0)
        seconds = time.perf_counter() - started
        watch.terminate()
        seen = [float(line) for line in (watch.stdout or []) if line.strip().isdigit()]
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20
    return [BATCH * STEPS / seconds, statistics.fmean(seen) if seen else math.nan, peak]
