"""ImageNet weights from a local file into a freshly built network. Nothing here downloads."""

from __future__ import annotations

from pathlib import Path

import keras

from covbench.schema import CovbenchError


def load_weights_file(network: keras.Model, weights: Path | str, name: str) -> None:
    """Load a published .h5 file without top, layer by layer in order of topology.

    Raises CovbenchError naming the file if it is missing, or was written for another network than `name`.
    """
    path = Path(weights)
    if not path.is_file():
        raise CovbenchError(f"{path}: no such weight file for {name}; fetch the weights, or choose `weights: none`")
    try:
        network.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise CovbenchError(
            f"{path}: holds no weights without top for {name} ({_first_line(error)}); delete it and fetch it again"
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
