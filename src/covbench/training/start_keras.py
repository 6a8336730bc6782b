"""Start Keras without the packages that it would import for functions that no job calls."""

import sys
from typing import Any

UNUSED = ("sklearn", "matplotlib")
"""Keras imports scikit-learn for its wrappers and Matplotlib for its galleries, if they are installed."""


def start_keras() -> None:
    """Import Keras as if the packages in UNUSED were not installed. Afterwards they can be imported as always."""
    modules: dict[str, Any] = sys.modules
    hidden = [name for name in UNUSED if name not in modules]
    modules.update(dict.fromkeys(hidden))  # None makes an import fail
    try:
        import keras  # noqa: F401
    finally:
        for name in hidden:
            del modules[name]
