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

from covbench.models.catalogue import input_size, kind_of
from covbench.operations.network_work import BYTES, NetworkWork
from covbench.operations.time_answer import SIDES, build_network, count_multiply_adds, list_layers


def count_network(name: str) -> NetworkWork:
    """Build a network of the catalogue and count its work at the side of most runs, without a classifier's head."""
    side = input_size(name, SIDES[kind_of(name)])
    model = build_network(name, side)
    network = next(layer for layer in model.layers if layer.name in ("backbone", "network"))
    layers = list_layers(network)
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
