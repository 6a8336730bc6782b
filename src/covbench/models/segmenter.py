"""Image segmenters: scaling and a network; raw 0-255 RGB in, class probabilities per pixel out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import layers

from covbench.models.batch_norm import SMALL_MOMENTUM
from covbench.models.catalogue import Architecture, architecture, input_size
from covbench.models.scaling import build_scaling
from covbench.schema import SEGMENTATION, CovbenchError

UNET_SMALL_FILTERS = (16, 32, 64, 128, 256)


def build_segmenter(name: str, size: int, classes: int, scaling: str, weights: Path | None = None) -> keras.Model:
    """A segmenter of the catalogue, untrained but for its encoder.

    The model takes raw RGB, uint8 or float, (B, size, size, 3), 0-255, and gives probabilities, float32,
    (B, size, size, classes), 0-1, that sum to 1 over the classes. Where the network cannot work at `size`
    (covbench.models.catalogue.input_size), images are resized on the way in and probabilities on the way out.
    Its layers: `resize`, `scaling`, `network`, `probabilities`, `resize_back`. Random values come from Keras's seed.

    scaling: `unit` (1/255) or `own` (what the encoder was trained with).
    weights: the encoder's ImageNet weights without top, .h5; None: random.
    Raises CovbenchError for unknown names and for a weight file that is missing or does not fit.
    """
    entry = architecture(name)
    if entry.kind != SEGMENTATION:
        raise CovbenchError(f"{name} classifies; a segmentation task needs a segmenter")
    side = input_size(name, size)
    network = _build_network(entry, side, classes, weights)
    images = keras.Input((size, size, 3), dtype="float32", name="images")
    x = images if side == size else layers.Resizing(side, side, dtype="float32", name="resize")(images)
    logits = network(build_scaling(scaling, entry.scaling)(x))
    maps = layers.Softmax(dtype="float32", name="probabilities")(logits)
    if side != size:
        maps = layers.Resizing(size, size, dtype="float32", name="resize_back")(maps)
    return keras.Model(images, maps, name=name)


def _build_network(entry: Architecture, side: int, classes: int, weights: Path | None) -> keras.Model:
    """Maps scaled images, (B, side, side, 3), to logits, (B, side, side, classes)."""
    if entry.weights is None:
        if weights is not None:
            raise CovbenchError(f"{entry.name} is trained from scratch and takes no weights; got {weights}")
        return _build_unet_small(side, classes)
    from covbench.models.sm_adapter import build_sm_network  # takes seconds, and needs TensorFlow

    network = build_sm_network(entry.constructor, entry.encoder, side, classes, weights)
    network.name = "network"
    return network


def _build_unet_small(side: int, classes: int) -> keras.Model:
    """A plain U-Net of 1.9 million parameters after Ronneberger et al. (2015), with batch norm and same padding."""
    inputs = keras.Input((side, side, 3))
    x = inputs
    skips = []
    for level, filters in enumerate(UNET_SMALL_FILTERS):
        if level > 0:
            x = layers.MaxPooling2D(name=f"down{level}_pool")(x)
        x = _convolve_twice(x, filters, f"down{level}")
        skips.append(x)
    for level in reversed(range(len(UNET_SMALL_FILTERS) - 1)):
        filters = UNET_SMALL_FILTERS[level]
        x = layers.Conv2DTranspose(filters, 2, strides=2, name=f"up{level}_transpose")(x)
        x = layers.Concatenate(name=f"up{level}_concat")([skips[level], x])
        x = _convolve_twice(x, filters, f"up{level}")
    return keras.Model(inputs, layers.Conv2D(classes, 1, name="final_conv")(x), name="network")


def _convolve_twice(x: Any, filters: int, name: str) -> Any:
    for part in "ab":
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}{part}_conv")(x)
        x = layers.BatchNormalization(momentum=SMALL_MOMENTUM, name=f"{name}{part}_bn")(x)
        x = layers.Activation("relu", name=f"{name}{part}_relu")(x)
    return x
