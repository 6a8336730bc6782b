"""Seconds of a training job beyond fitting: imports, loading, building, predicting, saving"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from bench.processes import call_fresh
from bench.rows import Row
from bench.workflow import SYNTHETIC, read_run, run_workflow

RUN = "phantom_xray/audited/mobilenetv2/0"
FOLDER = f"results/runs/{RUN}"


def measure() -> list[Row]:
    """Run one real job of the workflow: MobileNetV2 at 224 on the synthetic X-rays, two epochs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_workflow(folder, SYNTHETIC, [f"{FOLDER}/manifest.json"])
        facts = read_run(folder, RUN)
    fitting = sum(facts["epochs"])
    imports = call_fresh("bench.overhead:time_imports")
    beyond = facts["job"] - fitting
    note = (
        f"mobilenetv2, 224 x 224, {len(facts['epochs'])} epochs of {fitting:.0f} s together, tracing counted as fitting"
    )
    return [
        Row("a job beyond fitting", beyond, math.nan, "s", beyond, "< 15", note),
        Row("importing TensorFlow and Keras, a part of it", imports, math.nan, "s", math.nan, "", "a separate process"),
    ]


def time_imports() -> float:
    """Return the seconds that Keras takes to start, with TensorFlow."""
    import time

    from covbench.training.start_keras import start_keras

    started = time.perf_counter()
    start_keras()
    return time.perf_counter() - started
