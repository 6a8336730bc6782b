"""Count the work of a network for each image: parameters, multiply-adds, activations and layers.

`python -m bench.count_work NAME ...` prints rows of network_work.csv, read by operations.network_work.
"""

from __future__ import annotations

import csv
import math
import sys
from dataclasses import asdict, fields
from typing import Any

import keras

from covbench.models.catalogue import architecture, input_size
from covbench.models.classifier import build_classifier
from covbench.models.segmenter import build_segmenter
from covbench.operations.network_work import BYTES, NetworkWork
from covbench.schema import CLASSIFICATION

SIDES = {"classification": 224, "segmentation": 256}
CLASSES = 4


def count_network(name: str) -> NetworkWork:
    """Build a network of the catalogue and count its work at the side of most runs, without a classifier's head.

    Multiply-adds are those of convolutions and dense layers: each number of a kernel is used once per position.
    """
    entry = architecture(name)
    side = input_size(name, SIDES[entry.kind])
    if entry.kind == CLASSIFICATION:
        model = build_classifier(name, side, CLASSES, "average_pool", "own")
    else:
        model = build_segmenter(name, side, CLASSES, "own")
    network = next(layer for layer in model.layers if layer.name in ("backbone", "network"))
    layers: list[keras.Layer] = [
        layer
        for layer in network._flatten_layers(include_self=False, recursive=True)
        if not isinstance(layer, keras.Model | keras.layers.InputLayer)
    ]
    _, height, width, channels = network.output.shape
    assert height == width, f"{name}: features of {height} x {width}"
    return NetworkWork(
        architecture=name,
        side=side,
        parameters=network.count_params(),
        multiply_adds=sum(count_multiply_adds(layer) for layer in layers),
        activations=BYTES * sum(_size(layer.output) for layer in layers),
        layers=len(layers),
        feature_side=height,
        channels=channels,
    )


def count_multiply_adds(layer: keras.Layer) -> int:
    """Count the multiply-adds of a built layer for one image; 0 if it has no kernel."""
    kernels = [weight for weight in layer.weights if weight.name.endswith("kernel")]
    if not kernels:
        return 0
    transposed = isinstance(layer, keras.layers.Conv2DTranspose)
    positions = math.prod((layer.input if transposed else layer.output).shape[1:-1])
    return positions * sum(math.prod(kernel.shape) for kernel in kernels)


def _size(output: Any) -> int:
    return sum(math.prod(tensor.shape[1:]) for tensor in (output if isinstance(output, list) else [output]))


def main(names: list[str]) -> None:
    """Print the rows of some networks as CSV, with a header."""
    table = csv.DictWriter(sys.stdout, [field.name for field in fields(NetworkWork)], lineterminator="\n")
    table.writeheader()
    for name in names:
        table.writerow(asdict(count_network(name)))
        sys.stdout.flush()
        keras.utils.clear_session()


if __name__ == "__main__":
    main(sys.argv[1:])
