"""Seconds of a training job beyond fitting: imports, loading, building, predicting, saving"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

from bench.processes import call_fresh
from bench.rows import Row
from bench.workflow import DRAWN, read_run, run_workflow

RUN = "phantom_xray/audited/mobilenetv2/0"
FOLDER = f"results/runs/{RUN}"


def measure() -> list[Row]:
    """One real job of the workflow: MobileNetV2 at 224 on the drawn X-rays, two epochs."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run_workflow(folder, DRAWN, [f"{FOLDER}/manifest.json"])
        facts = read_run(folder, RUN)
    fitting = sum(facts["epochs"])
    imports = call_fresh("bench.overhead:time_imports")
    beyond = facts["job"] - fitting
    note = (
        f"mobilenetv2, 224 x 224, {len(facts['epochs'])} epochs of {fitting:.0f} s together, tracing counted as fitting"
    )
    return [
        Row("a job beyond fitting", beyond, math.nan, "s", beyond, "< 15", note),
        Row("of it importing TensorFlow and Keras", imports, math.nan, "s", math.nan, "", "in a process of its own"),
    ]


def time_imports() -> float:
    """Seconds that `import keras` with TensorFlow takes here."""
    import time

    started = time.perf_counter()
    import keras  # noqa: F401

    return time.perf_counter() - started
