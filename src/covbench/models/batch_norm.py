"""Batch norm: statistics that fit the trained weights, and a training kernel that is fast on a CPU."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import keras
import numpy as np
from keras import layers, ops

_TRACED: WeakKeyDictionary[keras.Model, tuple[Any, Any]] = WeakKeyDictionary()


def refresh_batch_norm(model: keras.Model, batches: Iterable[Any]) -> None:
    """Re-estimate the moving statistics of every trainable batch-norm layer over `batches`, in place.

    Moving averages lag behind weights that change fast, because Keras's momenta need hundreds to thousands of steps.
    This function sets each to the mean and variance over all batches together ("PreciseBN": Wu and Johnson 2021,
    arXiv:2105.07576, section 3). Every batch is normalised by its own statistics, and dropout is off. Weights and
    frozen layers stay as they are.

    batches: images as the model takes them, (B, H, W, 3), or tuples of images and targets.

    Raises ValueError if there is no batch.
    """
    norms = [layer for layer in _all_layers(model) if isinstance(layer, layers.BatchNormalization) and layer.trainable]
    if not norms:
        return
    sums = [np.zeros((2, *layer.moving_mean.shape)) for layer in norms]
    count = 0
    with _statistics_of_last_batch(model, norms):
        forward = _training_forward(model)
        for batch in batches:
            images = batch[0] if isinstance(batch, tuple | list) else batch
            forward(images)
            count += len(images)
            for total, layer in zip(sums, norms, strict=True):
                total += len(images) * _moments(layer)
    if count == 0:
        raise ValueError("no batch to estimate batch-norm statistics from")
    for total, layer in zip(sums, norms, strict=True):
        mean, square = total / count
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(np.maximum(square - mean**2, 0.0))


def _moments(layer: layers.BatchNormalization) -> np.ndarray:
    """Return the mean and mean square of the layer's moving statistics: float64, (2, C)."""
    mean = ops.convert_to_numpy(layer.moving_mean).astype(np.float64)
    return np.stack([mean, ops.convert_to_numpy(layer.moving_variance) + mean**2])


def _all_layers(model: keras.Model) -> list[layers.Layer]:
    """List every layer once, those of nested models included."""
    found: dict[int, layers.Layer] = {}
    for layer in model.layers:
        found[id(layer)] = layer
        if isinstance(layer, keras.Model):
            found |= {id(inner): inner for inner in _all_layers(layer)}
    return list(found.values())


@contextmanager
def _statistics_of_last_batch(model: keras.Model, norms: list[layers.BatchNormalization]) -> Iterator[None]:
    """Make batch norm keep only the last batch's statistics, and dropout drop nothing."""
    dropouts = [layer for layer in _all_layers(model) if isinstance(layer, layers.Dropout | layers.SpatialDropout2D)]
    before = [layer.momentum for layer in norms], [layer.rate for layer in dropouts]
    try:
        for layer in norms:
            layer.momentum = 0.0
            layer.moving_mean.assign(np.zeros(layer.moving_mean.shape))  # 0 * NaN would stay NaN
            layer.moving_variance.assign(np.ones(layer.moving_variance.shape))
        for layer in dropouts:
            layer.rate = 0.0
        yield
    finally:
        for layer, momentum in zip(norms, before[0], strict=True):
            layer.momentum = momentum
        for layer, rate in zip(dropouts, before[1], strict=True):
            layer.rate = rate


def _training_forward(model: keras.Model) -> Callable[[Any], Any]:
    """Return the model in training mode as a function of images. With TensorFlow it is traced once and kept."""
    if keras.backend.backend() != "tensorflow":
        return lambda images: model(images, training=True)
    import tensorflow as tf

    frozen = tuple(layer.trainable for layer in _all_layers(model))
    if _TRACED.get(model, (None, None))[0] != frozen:
        network = weakref.proxy(model)  # a reference to the model would keep its own entry alive
        shape = tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)
        _TRACED[model] = (frozen, tf.function(lambda images: network(images, training=True), input_signature=[shape]))
    traced = _TRACED[model][1]
    return lambda images: traced(tf.cast(images, tf.float32))


@contextmanager
def fused_batch_norm() -> Iterator[None]:
    """Train with TensorFlow's fused batch-norm kernel in all that is traced inside.

    It is up to twice as fast on a CPU, because Keras 3 computes batch norm from elementary operations in training.
    Outputs, gradients and moving statistics agree to float rounding. Nothing changes on a GPU, in mixed precision or
    with another Keras backend.
    """
    if keras.backend.backend() != "tensorflow" or _has_gpu():
        yield
        return
    original = layers.BatchNormalization.call

    def call(layer: layers.BatchNormalization, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if training and mask is None and _fusible(layer, inputs):
            return _normalise_fused(layer, inputs)
        return original(layer, inputs, training=training, mask=mask)

    layers.BatchNormalization.call = call
    try:
        yield
    finally:
        layers.BatchNormalization.call = original


def _has_gpu() -> bool:
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _fusible(layer: layers.BatchNormalization, inputs: Any) -> bool:
    plain = layer.trainable and not layer.synchronized and not layer.renorm
    images = len(inputs.shape) == 4 and layer.axis in (3, -1)
    return plain and images and keras.backend.standardize_dtype(inputs.dtype) == "float32"


def _normalise_fused(layer: layers.BatchNormalization, inputs: Any) -> Any:
    import tensorflow as tf

    channels = inputs.shape[-1]
    unused = tf.constant([], tf.float32)
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.convert_to_tensor(layer.gamma) if layer.scale else tf.ones(channels),
        offset=tf.convert_to_tensor(layer.beta) if layer.center else tf.zeros(channels),
        mean=unused,
        variance=unused,
        epsilon=layer.epsilon,
        is_training=True,
    )
    count = tf.cast(tf.size(inputs), tf.float32) / channels
    variance = variance * (count - 1.0) / count  # the kernel divides by count - 1, Keras by count
    for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + value * (1.0 - layer.momentum))
    return outputs
