"""Image segmenters: scaling, a network, a head; raw 0-255 RGB in, class probabilities per pixel out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
from keras import layers, ops

from covbench.models.architecture import Architecture
from covbench.models.catalogue import architecture, input_size
from covbench.models.networks import NETWORKS
from covbench.models.pretrained import require_pretrained
from covbench.models.scaling import build_scaling
from covbench.schema import SEGMENTATION, CovbenchError

SOFTMAX = "softmax_map"
BACKGROUND = "background_sigmoid"
HEADS = (SOFTMAX, BACKGROUND)
"""A softmax over the classes; or, for two classes, one sigmoid channel that is 1 on the background, as the study's."""


@keras.saving.register_keras_serializable("covbench")
class BackgroundOrLesion(layers.Layer):
    """One logit per pixel, (B, H, W, 1), to the probabilities of background and lesion, (p, 1 - p): (B, H, W, 2)."""

    def call(self, logits: Any) -> Any:
        """Convert a batch. 1 - p is computed as the sigmoid of -x, which keeps its digits near 0."""
        return ops.sigmoid(ops.concatenate([logits, -logits], axis=-1))


def build_segmenter(
    name: str, size: int, classes: int, scaling: str, weights: Path | None = None, head: str = SOFTMAX
) -> keras.Model:
    """A segmenter of the catalogue. Only its encoder may have pretrained weights.

    The model takes raw RGB, uint8 or float, (B, size, size, 3), 0-255, and gives probabilities, float32,
    (B, size, size, classes), 0-1, that sum to 1 over the classes. Where the network cannot work at `size`
    (covbench.models.catalogue.input_size), images are resized on the way in and probabilities on the way out.
    Its layers: `resize`, `scaling`, `network`, `probabilities`, `resize_back`. Random values come from Keras's seed.

    Args:
        name: a segmenter of the catalogue.
        size: side of the images, pixels.
        classes: number of classes, background included.
        scaling: a name of covbench.models.scaling.
        weights: the encoder's ImageNet weights without top, .h5; None: random.
        head: a name of HEADS.

    Returns:
        The model, not compiled.

    Raises:
        CovbenchError: a name is unknown, the head does not suit the number of classes, or the weight file is missing
            or does not fit.
    """
    channels = _count_channels(head, classes)
    entry = architecture(name)
    if entry.kind != SEGMENTATION:
        raise CovbenchError(f"{name} classifies; a segmentation task needs a segmenter")
    side = input_size(name, size)
    network = _build_network(entry, side, channels, weights)
    images = keras.Input((size, size, 3), dtype="float32", name="images")
    x = images if side == size else layers.Resizing(side, side, dtype="float32", name="resize")(images)
    logits = network(build_scaling(scaling, entry.scaling)(x))
    activation = BackgroundOrLesion if head == BACKGROUND else layers.Softmax
    maps = activation(dtype="float32", name="probabilities")(logits)
    if side != size:
        maps = layers.Resizing(size, size, dtype="float32", name="resize_back")(maps)
    return keras.Model(images, maps, name=name)


def _count_channels(head: str, classes: int) -> int:
    """Return how many channels of logits a head needs."""
    if head not in HEADS:
        raise CovbenchError(f"unknown head {head!r} of a segmenter; known: {', '.join(HEADS)}")
    if head == BACKGROUND and classes != 2:
        raise CovbenchError(f"head {BACKGROUND} is for 2 classes, not {classes}; set `head: {SOFTMAX}` in the config")
    return 1 if head == BACKGROUND else classes


def _build_network(entry: Architecture, side: int, channels: int, weights: Path | None) -> keras.Model:
    """Maps scaled images, (B, side, side, 3), to logits, (B, side, side, channels)."""
    require_pretrained(entry, weights)
    if entry.name in NETWORKS:
        drawn: keras.Model = NETWORKS[entry.name].build(side, channels)
        return drawn
    from covbench.models.sm_adapter import build_sm_network  # takes seconds, and needs TensorFlow

    network = build_sm_network(entry.constructor, entry.encoder, side, channels, weights)
    network.name = "network"
    return network
