"""Measure what a network needs to answer for one image: built with random weights, on one thread of the processor.

operations.network_costs starts `python -m covbench.operations.time_answer NAME ANSWER` in a process of its own, because
the peak memory is that of a process.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covbench.models.catalogue import kind_of
from covbench.system.files import write_json
from covbench.system.usage import peak_memory_mb
from covbench.training.start_keras import start_keras

if TYPE_CHECKING:
    import keras

ANSWERS = 10
SIDES = {"classification": 224, "segmentation": 256}
"""Side of the images of most runs, in pixels."""
CLASSES = 4


@dataclass(frozen=True)
class AnswerCost:
    """What one answer costs.

    side: of the image, pixels. parameters: all of the network, its head included. multiply_adds: of convolutions and
    dense layers. latency_ms: median wall time. processor_ms: median processor time, which other programs on the machine
    disturb less. memory_mb: peak resident memory of the process, the libraries included.
    """

    side: int
    parameters: int
    multiply_adds: int
    latency_ms: float
    processor_ms: float
    memory_mb: int


def measure_answer(name: str) -> AnswerCost:
    """Build a network of the catalogue and time ANSWERS answers for one random image. The first does not count."""
    start_keras()
    import numpy as np

    side = SIDES[kind_of(name)]
    model = build_network(name, side)
    image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    model.predict_on_batch(image)
    wall, processor = [], []
    for _ in range(ANSWERS):
        started, used = time.perf_counter(), time.process_time()
        model.predict_on_batch(image)
        wall.append(time.perf_counter() - started)
        processor.append(time.process_time() - used)
    return AnswerCost(
        side=side,
        parameters=model.count_params(),
        multiply_adds=sum(count_multiply_adds(layer) for layer in list_layers(model)),
        latency_ms=1000 * statistics.median(wall),
        processor_ms=1000 * statistics.median(processor),
        memory_mb=peak_memory_mb(),
    )


def build_network(name: str, side: int) -> keras.Model:
    """Build a network with random weights and the head of `audited`. side: of its images, pixels."""
    from covbench.models.classifier import build_classifier
    from covbench.models.segmenter import build_segmenter

    if kind_of(name) == "classification":
        return build_classifier(name, side, CLASSES, "average_pool", "own")
    return build_segmenter(name, side, CLASSES, "own")


def list_layers(model: keras.Model) -> list[keras.Layer]:
    """List all layers of a network, those of networks inside it included, without the networks themselves."""
    import keras

    inner = model._flatten_layers(include_self=False, recursive=True)
    return [layer for layer in inner if not isinstance(layer, keras.Model | keras.layers.InputLayer)]


def count_multiply_adds(layer: Any) -> int:
    """Count the multiply-adds of a built layer for one image; 0 if it has no kernel.

    Each number of a kernel is used once per position.
    """
    import keras

    kernels = [weight for weight in layer.weights if weight.name.endswith("kernel")]
    if not kernels:
        return 0
    transposed = isinstance(layer, keras.layers.Conv2DTranspose)
    positions = math.prod((layer.input if transposed else layer.output).shape[1:-1])
    return int(positions * sum(math.prod(kernel.shape) for kernel in kernels))


if __name__ == "__main__":
    write_json(Path(sys.argv[2]), asdict(measure_answer(sys.argv[1])))
