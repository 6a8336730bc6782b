"""Image classifiers: scaling, a backbone, a head; raw 0-255 RGB in, class probabilities out. Pure Keras 3."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
from keras import layers

from covbench.models.architecture import Architecture
from covbench.models.catalogue import architecture, input_size
from covbench.models.networks import NETWORKS
from covbench.models.pretrained import load_weights_file, require_pretrained
from covbench.models.scaling import IMAGENET_MEAN, IMAGENET_STANDARD_DEVIATION, build_scaling
from covbench.schema import CLASSIFICATION, CovbenchError


def build_classifier(
    name: str, size: int, classes: int, head: str, scaling: str, weights: Path | None = None
) -> keras.Model:
    """A classifier of the catalogue. Only its backbone may have pretrained weights.

    The model takes raw RGB, uint8 or float, (B, size, size, 3), 0-255, and gives probabilities, float32, (B, classes),
    0-1. With head `dense_512_64` each is a sigmoid of its own, as in the study; with the others they sum to 1.
    Its layers: `resize` (only where covbench.models.catalogue.input_size says so), `scaling`, `backbone` (`network`
    where this project draws it: nothing in it is pre-trained and worth freezing), `head`. Every head ends in the layers
    `logits` and `probabilities`. Random values come from Keras's seed.

    Args:
        name: a classifier of the catalogue.
        size: side of the images, pixels.
        classes: number of classes.
        head: a name of HEADS.
        scaling: `unit` (1/255 for every backbone, as in the study: EfficientNet then scales a second time inside),
            `raw` or `own`.
        weights: the backbone's ImageNet weights without top, .h5; None: random.

    Returns:
        The model, not compiled.

    Raises:
        CovbenchError: a name is unknown, or the weight file is missing or does not fit.
    """
    entry = architecture(name)
    if entry.kind != CLASSIFICATION:
        raise CovbenchError(f"{name} segments; a classification task needs a classifier")
    if head not in HEADS:
        raise CovbenchError(f"head: {head!r} is no choice; known: {', '.join(HEADS)}")
    side = input_size(name, size)
    backbone = _build_backbone(entry, side, weights)
    images = keras.Input((size, size, 3), dtype="float32", name="images")
    x = images if side == size else layers.Resizing(side, side, dtype="float32", name="resize")(images)
    features = backbone(build_scaling(scaling, entry.scaling)(x))
    probabilities = HEADS[head](features.shape[1:], classes)(features)
    return keras.Model(images, probabilities, name=name)


def _build_backbone(entry: Architecture, side: int, weights: Path | None) -> keras.Model:
    """Maps scaled images, (B, side, side, 3), to features, (B, h, w, C)."""
    require_pretrained(entry, weights)
    if entry.name in NETWORKS:
        network: keras.Model = NETWORKS[entry.name].build(side)
        return network
    arguments = {"alpha": entry.alpha} if entry.alpha != 1.0 else {}
    constructor = getattr(keras.applications, entry.constructor)
    backbone: keras.Model = constructor(include_top=False, weights=None, input_shape=(side, side, 3), **arguments)
    backbone.name = "backbone"  # not given to the constructor: EfficientNetV2 looks its blocks up by its own name
    if weights is not None:
        load_weights_file(backbone, weights, entry.name)
    _set_own_scaling(backbone)
    return backbone


def _set_own_scaling(backbone: keras.Model) -> None:
    """Make the scaling inside a backbone that of `weights="imagenet"`, for random weights as for loaded ones.

    EfficientNet built with `weights=None`, as here, lacks a layer that divides by the root of the standard deviation
    once more (https://github.com/tensorflow/tensorflow/issues/49930); the published file therefore holds the deviation
    where the variance belongs. The true variance there gives (x / 255 - mean) / deviation, which is what it was trained
    with. EfficientNetV2 and ConvNeXt hold mean and variance as constants, which are right. All are float32 whatever the
    dtype policy, like every scaling here; constants are cast when a layer is built, so it is built again.
    """
    for layer in backbone.layers:
        if isinstance(layer, layers.Rescaling | layers.Normalization):
            layer.dtype_policy = "float32"
        if isinstance(layer, layers.Normalization):
            if layer.input_mean is None:
                layer.adapt_mean.assign(IMAGENET_MEAN)
                layer.adapt_variance.assign([deviation**2 for deviation in IMAGENET_STANDARD_DEVIATION])
                layer.finalize_state()
            else:
                layer.build_from_config(layer.get_build_config())


def _build_dense_head(features: tuple[int, ...], classes: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(features),
            layers.Flatten(dtype="float32"),
            layers.Dropout(0.25, dtype="float32"),
            layers.Dense(512, activation="relu", dtype="float32"),
            layers.Dropout(0.25, dtype="float32"),
            layers.Dense(64, activation="relu", dtype="float32"),
            *_end(classes, "sigmoid"),
        ],
        name="head",
    )


def _build_pooled_head(features: tuple[int, ...], classes: int, dropout: float) -> keras.Model:
    dropped = [layers.Dropout(dropout, dtype="float32")] if dropout else []
    pooled = layers.GlobalAveragePooling2D(dtype="float32")
    return keras.Sequential([keras.Input(features), pooled, *dropped, *_end(classes, "softmax")], name="head")


def _end(classes: int, activation: str) -> list[layers.Layer]:
    return [
        layers.Dense(classes, dtype="float32", name="logits"),
        layers.Activation(activation, dtype="float32", name="probabilities"),
    ]


HEADS: dict[str, Callable[[tuple[int, ...], int], keras.Model]] = {
    "dense_512_64": _build_dense_head,
    "pooled_logits": partial(_build_pooled_head, dropout=0.0),
    "average_pool": partial(_build_pooled_head, dropout=0.2),
}
