"""Load saved networks, whatever layers of this project they have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import keras

from covbench.models import scaling, segmenter, sm_adapter

# Keras finds a layer of a saved network only if the layer's module is imported.
__all__ = ["load_network", "load_networks", "scaling", "segmenter", "sm_adapter"]


def load_network(path: Path | str) -> keras.Model:
    """Load a network from its model.keras file, for predictions only."""
    return keras.saving.load_model(path, compile=False)


def load_networks(paths: Iterable[Path | str]) -> Iterator[keras.Model]:
    """Load networks that differ in their weights alone, one after another, for predictions only.

    All are the same object, so that a network is built and its graph traced once, whatever the number of files.
    """
    network = None
    for path in paths:
        if network is None:
            network = load_network(path)
        else:
            network.load_weights(path)
        yield network
