"""Load saved networks, whatever layers of this project they have."""

from __future__ import annotations

from pathlib import Path

import keras

from covbench.models import scaling, segmenter, sm_adapter

# Keras finds a layer of a saved network only if the layer's module is imported.
__all__ = ["load_network", "scaling", "segmenter", "sm_adapter"]


def load_network(path: Path | str) -> keras.Model:
    """Load a network from its model.keras file, for predictions only."""
    return keras.saving.load_model(path, compile=False)
