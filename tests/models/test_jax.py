"""The same classifier, loss, metrics and callbacks on Keras's JAX backend, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax", reason="jax is not installed")

ROOT = Path(__file__).resolve().parents[2]
RUN = """
import json, keras
from covbench.training.devices import describe_device, set_precision
from tests.training.test_fit import OPTIONS, train
set_precision("float32")
model, progress, folds = train()
facts = [keras.backend.backend(), type(model.trainable_variables[0].value).__module__]
print(json.dumps([facts, [row["loss"] for row in progress.history]]))
"""


@pytest.mark.slow
def test_a_classifier_trains_on_jax():
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=ROOT,
        env=os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (backend, array), losses = json.loads(done.stdout.splitlines()[-1])
    assert backend == "jax"
    assert array.startswith("jax")
    assert losses[-1] < losses[0]
