"""The networks that this project draws: every module here that has a CARD, found by itself.

A module holds its CARD (covbench.models.architecture.NetworkCard) and a function `build`. A classifier's `build(side)`
maps scaled images, (B, side, side, 3), to features, (B, h, w, C). A segmenter's `build(side, classes)` maps them to
logits, (B, side, side, classes). Keras is imported inside `build`, so that planning reads the card without Keras.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from covbench.schema import CovbenchError


def _find_networks() -> dict[str, ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    for module in modules.values():
        if not hasattr(module, "CARD") or not hasattr(module, "build"):
            raise CovbenchError(f"{module.__file__}: a network needs CARD and build; see small_cnn.py beside it")
    return modules


NETWORKS: dict[str, ModuleType] = _find_networks()
