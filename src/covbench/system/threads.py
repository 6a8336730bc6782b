"""How many threads the numerical libraries use; to be set before any of them is imported."""

from __future__ import annotations

import os

BASELINE_THREADS = 1
"""Threads of a job without networks: OpenBLAS never uses more than the machine has cores, so only 1 is always kept."""


def fix_threads(threads: int) -> None:
    """Make the numerical libraries use exactly `threads` threads, whatever the user's environment says.

    Their sums are ordered by thread, so another number gives other weights. The libraries read their variables once,
    when they are imported. Variables that change no number stay as the user has set them.
    """
    os.environ.update(name_variables(threads))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # a GPU may have other users
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def name_variables(threads: int) -> dict[str, str]:
    """Return the environment variables that give networks `threads` threads, and OpenBLAS and OpenCV one."""
    return {
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_ENABLE_ONEDNN_OPTS": "1",  # TensorFlow's own choice on most processors; 0 gives other weights
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(BASELINE_THREADS),
        "OPENCV_FOR_THREADS_NUM": "1",
    }
