"""Thread counts reach the numerical libraries, whatever the user's environment says."""

import json
import os
import subprocess
import sys

REPORT = """
import json, os, sys
from covbench.system.threads import fix_threads
fix_threads(3)
heavy = [name for name in ("numpy", "tensorflow", "keras", "cv2") if name in sys.modules]
import cv2, sklearn.linear_model, threadpoolctl
pools = sorted({(pool["user_api"], pool["num_threads"]) for pool in threadpoolctl.threadpool_info()})
names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "TF_ENABLE_ONEDNN_OPTS", "TF_FORCE_GPU_ALLOW_GROWTH")
found = {"heavy": heavy, "pools": pools, "opencv": cv2.getNumThreads()}
print(json.dumps(found | {name: os.environ[name] for name in names}))
"""


def report(**environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "OMP_", "XLA_"))}
    done = subprocess.run([sys.executable, "-c", REPORT], env=kept | environment, capture_output=True, check=True)
    return json.loads(done.stdout)


def test_the_threads_reach_every_library_and_are_set_before_one_is_imported():
    assert report() == {
        "heavy": [],
        "pools": [["blas", 1], ["openmp", 3]],
        "opencv": 1,
        "TF_NUM_INTRAOP_THREADS": "3",
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_ENABLE_ONEDNN_OPTS": "1",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }


def test_the_users_environment_changes_no_number_but_decides_how_a_gpu_is_shared():
    numbers = {"OMP_NUM_THREADS": "7", "OPENBLAS_NUM_THREADS": "7", "TF_NUM_INTRAOP_THREADS": "7"}
    numbers |= {"TF_ENABLE_ONEDNN_OPTS": "0", "OPENCV_FOR_THREADS_NUM": "7"}
    assert report(**numbers) == report()
    assert report(TF_FORCE_GPU_ALLOW_GROWTH="false")["TF_FORCE_GPU_ALLOW_GROWTH"] == "false"
