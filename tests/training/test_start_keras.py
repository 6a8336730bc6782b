"""A job's Keras starts without what no job uses, and leaves nothing hidden behind it."""

import subprocess
import sys

START = """
import gc, sys
from covbench.training.start_keras import UNUSED_BY_TENSORFLOW, start_keras
start_keras()
assert "keras" in sys.modules
assert not [name for name in sys.modules if name.split(".")[0] in UNUSED_BY_TENSORFLOW]
assert gc.isenabled()
assert gc.get_freeze_count() > 100_000
import covbench.training.job, covbench.training.gradcam, covbench.training.predict_external
import matplotlib.pyplot, sklearn.linear_model
import jax
"""


def test_keras_starts_without_packages_that_can_be_imported_afterwards():
    done = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
