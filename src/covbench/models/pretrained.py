"""Load ImageNet weights from a local file into a freshly built network, without any download."""

from __future__ import annotations

from pathlib import Path

import keras

from covbench.models.architecture import Architecture
from covbench.schema import CovbenchError


def require_pretrained(entry: Architecture, weights: Path | None) -> None:
    """Raise CovbenchError if weights are given for a network that is only trained from scratch."""
    if weights is not None and entry.weights is None:
        raise CovbenchError(f"{entry.name} is trained from scratch and takes no weights; got {weights}")


def load_weights_file(network: keras.Model, weights: Path | str, name: str) -> None:
    """Load a published .h5 file without top, layer by layer in order of topology.

    Args:
        network: the network that the file was written for, changed in place.
        weights: path of the file.
        name: name of the network, for error messages.

    Raises:
        CovbenchError: the file is missing, or was written for another network. The message names the file.
    """
    path = Path(weights)
    if not path.is_file():
        raise CovbenchError(f"{path}: no such weight file for {name}; fetch the weights, or choose `weights: none`")
    try:
        network.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise CovbenchError(
            f"{path}: does not hold the weights of {name} without top ({_first_line(error)}); "
            "delete it and fetch it again"
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
