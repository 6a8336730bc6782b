"""Time one training setting on this machine: a few steps of each phase, in a separate process.

operations.step_timings starts `python -m covbench.operations.time_steps SETTING ANSWER` and keeps the answer.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from covbench.data.datasets import TASKS
from covbench.models.batch_norm import fused_batch_norm
from covbench.models.losses import build_loss
from covbench.protocols import Options
from covbench.schema import SEGMENTATION, Run
from covbench.system.files import write_json
from covbench.system.usage import peak_memory_mb
from covbench.training.devices import set_precision
from covbench.training.fit import seed_everything
from covbench.training.frozen_features import has_backbone
from covbench.training.job import build_model
from covbench.training.schedule import plan_phases

STEPS = 3


@dataclass(frozen=True)
class Timing:
    """Costs of a setting.

    setup: seconds to build and trace the network for every phase, without the steps themselves.
    head, fine_tune: seconds per training step; 0 for a phase that the setting does not have.
    forward: seconds per batch without gradients. memory_mb: peak resident memory.
    gpu_mb: peak memory on the GPU; 0 without a GPU. parameters: of the network.
    """

    setup: float
    head: float
    fine_tune: float
    forward: float
    memory_mb: float
    gpu_mb: float
    parameters: int


def measure_setting(task: str, architecture: str, options: Options, settings: Mapping[str, Any]) -> Timing:
    """Build the network, trace it and time a few steps on random images.

    Args:
        task: Name of the task, which decides the number of classes.
        architecture: Name in the catalogue.
        options: Resolved for the task and its protocol.
        settings: `deterministic` and `precision`, as in the config.

    Returns:
        Seconds, memory and number of parameters.
    """
    started = time.monotonic()
    set_precision(settings["precision"])
    seed_everything(0, settings["deterministic"])
    run = Run(task, "timing", architecture, 0)
    model = build_model(run, options, len(TASKS[task].classes), None)
    x, y = _draw_batch(task, options)
    seconds, inside = {"head": 0.0, "fine_tune": 0.0}, 0.0
    for phase in plan_phases(options):
        if phase.epochs:
            _compile(model, phase.name, options)
            with fused_batch_norm():
                seconds[phase.name], spent = _time_steps(lambda: model.train_on_batch(x, y))
            inside += spent
    forward, spent = _time_steps(lambda: model.predict_on_batch(x))
    return Timing(
        setup=time.monotonic() - started - inside - spent,
        **seconds,
        forward=forward,
        memory_mb=peak_memory_mb(),
        gpu_mb=_peak_gpu_mb(),
        parameters=model.count_params(),
    )


def _draw_batch(task: str, options: Options) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (options.batch_size, options.size, options.size)
    x = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    classes = len(TASKS[task].classes)
    if TASKS[task].kind == SEGMENTATION:
        return x, np.eye(classes, dtype=np.uint8).take(rng.integers(0, classes, shape), axis=0)
    return x, np.eye(classes, dtype=np.float32)[rng.integers(0, classes, options.batch_size)]


def _compile(model: keras.Model, phase: str, options: Options) -> None:
    if has_backbone(model):
        model.get_layer("backbone").trainable = phase == "fine_tune"
    metrics = [keras.metrics.CategoricalAccuracy(name="accuracy")]
    model.compile(optimizer="adam", loss=build_loss(options.loss, None), metrics=metrics, jit_compile=False)


def _time_steps(step: Callable[[], Any]) -> tuple[float, float]:
    """Return the median seconds of a step and the seconds of all steps. The first step traces and does not count."""
    step()
    times = []
    for _ in range(STEPS):
        started = time.monotonic()
        step()
        times.append(time.monotonic() - started)
    return statistics.median(times), sum(times)


def _peak_gpu_mb() -> float:
    if keras.backend.backend() != "tensorflow":
        return 0.0
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    return sum(tf.config.experimental.get_memory_info(gpu.name[-5:])["peak"] for gpu in gpus) / 2**20


def main(setting: str, answer: str) -> None:
    """Time a setting, given as experiment.plan.PlannedRun.describe in JSON, and write its Timing as JSON."""
    entry: Mapping[str, Any] = json.loads(setting)
    timing = measure_setting(entry["task"], entry["architecture"], Options(**entry["options"]), entry["settings"])
    write_json(Path(answer), asdict(timing))


if __name__ == "__main__":
    main(*sys.argv[1:])
