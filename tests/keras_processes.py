"""Processes that find Keras imported: each starts in a second, not in ten."""

import multiprocessing
from multiprocessing.context import ForkServerContext


def fork_with_keras() -> ForkServerContext:
    """A context whose processes fork from one that has imported Keras and the training of covbench."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keras", "tensorflow", "covbench.training.job"])
    return context
