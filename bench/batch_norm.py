"""Seconds per training step on a CPU with the fused batch-norm kernel, against Keras's own"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np

from bench.processes import call_fresh
from bench.rows import NotHereError, Row

SIDE, BATCH, TURNS = 224, 32, 6
RATE = 1e-4  # at which the protocols fine-tune these networks
BARS = {"mobilenetv2": ">= 1.4", "resnet50": ">= 1.2", "densenet121": ">= 1.2"}


def measure() -> list[Row]:
    """Run both kernels in turn, step by step, on the same network built twice. Each architecture has a process."""
    return [Row(**row) for name in BARS for row in call_fresh("bench.batch_norm:compare", name)]


def compare(name: str) -> list[Row]:
    """Compare the speed of both kernels, and the weights after one step."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        raise NotHereError("the fused kernel is for machines without a GPU")
    images = np.random.default_rng(0).integers(0, 256, (BATCH, SIDE, SIDE, 3)).astype(np.float32)
    fused, stock = _Trained(name, fused=True), _Trained(name, fused=False)
    mine, theirs = fused.values_after_first_step(images), stock.values_after_first_step(images)
    shaken = stock.values_after_first_step(images * (1 + 1e-6))
    times = [[_clock(side, images) for side in (fused, stock)] for _ in range(TURNS)]
    ours, other = (statistics.median(side) for side in zip(*times, strict=True))
    note = f"float32, {SIDE} x {SIDE}, batch {BATCH}, Adam; {TURNS} turns; other side: stock Keras 3"
    differences = "largest difference after one step at rate 1e-4; other side: stock on images changed by a millionth"
    apart = {
        what: [_distance(values[what], theirs[what]) for values in (mine, shaken)]
        for what in ("weights", "moving statistics")
    }
    return [
        Row(f"{name}, a step", ours, other, "s", other / ours, BARS[name], note),
        *(
            Row(f"{name}, {what}", ours, floor, "", ours, "<= 1e-5", differences)
            for what, (ours, floor) in apart.items()
        ),
    ]


class _Trained:
    """A network with random weights, and its training step, traced on the first call."""

    def __init__(self, name: str, fused: bool) -> None:
        import keras

        from covbench.models.batch_norm import fused_batch_norm
        from covbench.models.classifier import build_classifier

        keras.utils.set_random_seed(0)
        self.model = build_classifier(name, SIDE, 2, "average_pool", "own")
        # With Keras's epsilon of 1e-7, Adam's first step is the sign of a gradient, however close to 0 it is.
        self.model.compile(keras.optimizers.Adam(RATE, epsilon=1.0), "categorical_crossentropy", jit_compile=False)
        self.model.optimizer.build(self.model.trainable_variables)
        self.variables = self.model.variables + self.model.optimizer.variables
        self.kernel = fused_batch_norm if fused else nullcontext
        self.start = [variable.numpy() for variable in self.variables]
        self.targets = np.eye(2, dtype=np.float32)[np.arange(BATCH) % 2]

    def step(self, images: np.ndarray) -> None:
        with self.kernel():
            self.model.train_on_batch(images, self.targets)

    def values_after_first_step(self, images: np.ndarray) -> dict[str, list[np.ndarray]]:
        for variable, value in zip(self.variables, self.start, strict=True):
            variable.assign(value)
        self.step(images)
        weights, statistics = self.model.trainable_weights, self.model.non_trainable_weights
        return {
            "weights": [weight.numpy() for weight in weights],
            "moving statistics": [statistic.numpy() for statistic in statistics],
        }


def _distance(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Return the largest difference of two values. It is relative if the value is above 1."""
    apart = [np.abs(a - b) / np.maximum(np.abs(b), 1) for a, b in zip(one, other, strict=True)]
    return float(max(values.max(initial=0) for values in apart))


def _clock(trained: _Trained, images: np.ndarray) -> float:
    started = time.perf_counter()
    trained.step(images)
    return time.perf_counter() - started
