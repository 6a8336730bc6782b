"""How many threads the numerical libraries may use; to be set before any of them is imported."""

from __future__ import annotations

import os


def limit_threads(threads: int) -> None:
    """Give TensorFlow, JAX and OpenMP `threads` threads and let them share a GPU; what the user set stays.

    The libraries read these variables once, when they are imported.
    """
    choices = {
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": str(threads),
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # a GPU may have other users
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    for name, value in choices.items():
        os.environ.setdefault(name, value)
