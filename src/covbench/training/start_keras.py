"""Start Keras without the packages that it would import for functions that no job calls."""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

UNUSED = ("sklearn", "matplotlib")
"""Keras imports scikit-learn for its wrappers and Matplotlib for its galleries, if they are installed."""
UNUSED_BY_TENSORFLOW = (*UNUSED, "jax")
"""TensorFlow Lite imports JAX for its converter. Keras needs JAX where it is its backend."""


def start_keras() -> None:
    """Import Keras as if the packages in UNUSED were not installed. Afterwards they can be imported as always.

    The garbage collector does not search the imported modules, neither now nor later: they hold half a million objects,
    and none of them is ever garbage.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        with _hide(UNUSED_BY_TENSORFLOW):
            import tensorflow  # noqa: F401
        with _hide(UNUSED):
            import keras  # noqa: F401
        gc.freeze()
    finally:
        if collects:
            gc.enable()


@contextmanager
def _hide(packages: Sequence[str]) -> Iterator[None]:
    """Let an import of these packages fail, unless they have been imported before."""
    modules: dict[str, Any] = sys.modules
    hidden = [name for name in packages if name not in modules]
    modules.update(dict.fromkeys(hidden))  # None makes an import fail
    try:
        yield
    finally:
        for name in hidden:
            del modules[name]
