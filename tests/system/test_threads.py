"""Thread counts reach the numerical libraries, and what the user set stays."""

import json
import os
import subprocess
import sys

REPORT = """
import json, os, sys
from covbench.system.threads import limit_threads
limit_threads(3)
heavy = [name for name in ("numpy", "tensorflow", "keras") if name in sys.modules]
names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "TF_FORCE_GPU_ALLOW_GROWTH")
print(json.dumps({"heavy": heavy} | {name: os.environ[name] for name in names}))
"""


def report(**environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "OMP_", "XLA_"))}
    done = subprocess.run([sys.executable, "-c", REPORT], env=kept | environment, capture_output=True, check=True)
    return json.loads(done.stdout)


def test_the_limit_is_set_before_any_numerical_library_is_imported():
    assert report() == {
        "heavy": [],
        "TF_NUM_INTRAOP_THREADS": "3",
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": "3",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }


def test_what_the_user_set_stays():
    found = report(TF_NUM_INTRAOP_THREADS="7", TF_FORCE_GPU_ALLOW_GROWTH="false")
    assert (found["TF_NUM_INTRAOP_THREADS"], found["OMP_NUM_THREADS"]) == ("7", "3")
    assert found["TF_FORCE_GPU_ALLOW_GROWTH"] == "false"
