"""Image segmenters: scaling and a network; raw 0-255 RGB in, class probabilities per pixel out."""

from __future__ import annotations

from pathlib import Path

import keras
from keras import layers

from covbench.models.architecture import Architecture
from covbench.models.catalogue import architecture, input_size
from covbench.models.networks import NETWORKS
from covbench.models.pretrained import require_pretrained
from covbench.models.scaling import build_scaling
from covbench.schema import SEGMENTATION, CovbenchError


def build_segmenter(name: str, size: int, classes: int, scaling: str, weights: Path | None = None) -> keras.Model:
    """A segmenter of the catalogue. Only its encoder may have pretrained weights.

    The model takes raw RGB, uint8 or float, (B, size, size, 3), 0-255, and gives probabilities, float32,
    (B, size, size, classes), 0-1, that sum to 1 over the classes. Where the network cannot work at `size`
    (covbench.models.catalogue.input_size), images are resized on the way in and probabilities on the way out.
    Its layers: `resize`, `scaling`, `network`, `probabilities`, `resize_back`. Random values come from Keras's seed.

    Args:
        name: a segmenter of the catalogue.
        size: side of the images, pixels.
        classes: number of classes, background included.
        scaling: `unit` (1/255) or `own` (what the encoder was trained with).
        weights: the encoder's ImageNet weights without top, .h5; None: random.

    Returns:
        The model, not compiled.

    Raises:
        CovbenchError: a name is unknown, or the weight file is missing or does not fit.
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
    require_pretrained(entry, weights)
    if entry.name in NETWORKS:
        drawn: keras.Model = NETWORKS[entry.name].build(side, classes)
        return drawn
    from covbench.models.sm_adapter import build_sm_network  # takes seconds, and needs TensorFlow

    network = build_sm_network(entry.constructor, entry.encoder, side, classes, weights)
    network.name = "network"
    return network
