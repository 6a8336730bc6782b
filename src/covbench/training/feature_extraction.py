"""Turn a frozen network into a function from images to features, in the fastest way on this machine and backend."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from covbench.system.processors import describe_processor
from covbench.training.devices import describe_device, rounds_to_tensor_float

BATCH = 32  # without TensorFlow Lite; a fixed shape, so that the number of images does not choose the kernel

Extraction = Callable[[np.ndarray], np.ndarray]


def prepare_extraction(network: keras.Model, content: str) -> Extraction:
    """Make a function from raw images, uint8, (B, H, W, 3), 0-255, to the network's outputs, float32, (B, F).

    On a CPU with TensorFlow, the network is converted to TensorFlow Lite, which folds batch norm into the convolutions.
    Each thread takes one image at a time, so no number depends on the other images or on the number of threads. A
    conversion takes seconds, so the last converted network is kept, and returned for the same `content`: everything
    that decides its outputs, weights included.
    """
    if not _takes_lite():
        return _extract_plainly(network)
    if content not in _CONVERTED:
        _CONVERTED.clear()
        _CONVERTED[content] = _LiteExtraction(network)
    return _CONVERTED[content]


def describe_extraction() -> str:
    """Describe how this process extracts features. Two ways agree to float rounding, but not bit for bit."""
    instructions = describe_processor()["instruction_set"]
    if _takes_lite():
        return f"tensorflow lite, {instructions}"
    threads = os.environ.get("TF_NUM_INTRAOP_THREADS", "all")
    policy = keras.config.dtype_policy().name + (" in tensorfloat-32" if rounds_to_tensor_float() else "")
    return f"{keras.backend.backend()}, {policy}, {describe_device()}, {instructions}, {threads} threads"


def _takes_lite() -> bool:
    plain = keras.config.dtype_policy().name == "float32"
    return keras.backend.backend() == "tensorflow" and plain and describe_device() == "cpu"


def _extract_plainly(network: keras.Model) -> Extraction:
    def extract(images: np.ndarray) -> np.ndarray:
        padded = np.zeros((-(-len(images) // BATCH) * BATCH, *images.shape[1:]), images.dtype)
        padded[: len(images)] = images
        parts = [network.predict_on_batch(padded[first : first + BATCH]) for first in range(0, len(padded), BATCH)]
        return np.concatenate(parts)[: len(images)].astype(np.float32)

    return extract


class _LiteExtraction:
    """The network converted to TensorFlow Lite, with an interpreter per thread."""

    def __init__(self, network: keras.Model) -> None:
        self._content = _convert(network)
        self._of_thread = threading.local()
        threads = int(os.environ.get("TF_NUM_INTRAOP_THREADS") or os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(threads, initializer=self._start)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.stack(list(self._pool.map(self._extract, images)))

    def _start(self) -> None:
        import tensorflow as tf

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Interpreter will move to another package
            interpreter = tf.lite.Interpreter(model_content=self._content, num_threads=1)
        interpreter.allocate_tensors()
        self._of_thread.interpreter = interpreter
        self._of_thread.ends = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def _extract(self, image: np.ndarray) -> np.ndarray:
        interpreter, (entry, exit_) = self._of_thread.interpreter, self._of_thread.ends
        interpreter.set_tensor(entry, image[None].astype(np.float32))
        interpreter.invoke()
        return interpreter.get_tensor(exit_)[0]


_CONVERTED: dict[str, _LiteExtraction] = {}


def _convert(network: keras.Model) -> Any:
    import tensorflow as tf

    forward = tf.function(lambda images: network(images, training=False))
    traced = forward.get_concrete_function(tf.TensorSpec((1, *network.input_shape[1:]), tf.float32))
    return tf.lite.TFLiteConverter.from_concrete_functions([traced], trackable_obj=traced).convert()
