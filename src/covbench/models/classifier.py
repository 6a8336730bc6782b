"""Image classifiers: scaling, a backbone, a head; raw 0-255 RGB in, class probabilities out. Pure Keras 3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from keras import layers

from covbench.models.batch_norm import SMALL_MOMENTUM
from covbench.models.catalogue import Architecture, architecture, input_size
from covbench.models.pretrained import load_weights_file
from covbench.models.scaling import IMAGENET_MEAN, IMAGENET_STANDARD_DEVIATION, build_scaling
from covbench.schema import CLASSIFICATION, CovbenchError

SMALL_FILTERS = (16, 32, 64, 128, 128)


def build_classifier(
    name: str, size: int, classes: int, head: str, scaling: str, weights: Path | None = None
) -> keras.Model:
    """A classifier of the catalogue, untrained but for its backbone.

    The model takes raw RGB, uint8 or float, (B, size, size, 3), 0-255, and gives probabilities, float32, (B, classes),
    0-1; with head `average_pool` they sum to 1, with `dense_512_64` each is a sigmoid of its own, as in the study.
    Its layers: `resize` (only where covbench.models.catalogue.input_size says so), `scaling`, `backbone` (for the
    small networks `network`, since nothing in it is pre-trained and worth freezing), `head`. Random values come from
    Keras's seed.

    head: a name of HEADS. scaling: `unit` (1/255 for every backbone, as in the study: EfficientNet then scales a second
        time inside) or `own`.
    weights: the backbone's ImageNet weights without top, .h5; None: random.
    Raises CovbenchError for unknown names and for a weight file that is missing or does not fit.
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
    if entry.weights is None:
        if weights is not None:
            raise CovbenchError(f"{entry.name} is trained from scratch and takes no weights; got {weights}")
        return _SMALL_NETWORKS[entry.name](side)
    arguments = {"alpha": entry.alpha} if entry.alpha != 1.0 else {}
    constructor = getattr(keras.applications, entry.constructor)
    backbone = constructor(include_top=False, weights=None, input_shape=(side, side, 3), name="backbone", **arguments)
    if weights is not None:
        load_weights_file(backbone, weights, entry.name)
    _set_imagenet_normalisation(backbone)
    return backbone


def _set_imagenet_normalisation(backbone: keras.Model) -> None:
    """Make EfficientNet's own scaling that of `weights="imagenet"`, for random weights as for loaded ones.

    Built with `weights=None`, as here, it lacks a layer that divides by the root of the standard deviation once more
    (https://github.com/tensorflow/tensorflow/issues/49930); the published file therefore holds the deviation where the
    variance belongs. The true variance there gives (x / 255 - mean) / deviation, which is what it was trained with.
    Both are float32 whatever the dtype policy, like every scaling here.
    """
    for layer in backbone.layers:
        if isinstance(layer, layers.Rescaling | layers.Normalization):
            layer.dtype_policy = "float32"
        if isinstance(layer, layers.Normalization):
            layer.adapt_mean.assign(IMAGENET_MEAN)
            layer.adapt_variance.assign([deviation**2 for deviation in IMAGENET_STANDARD_DEVIATION])
            layer.finalize_state()


def _build_small_cnn(side: int) -> keras.Model:
    """Five blocks of convolution, batch norm, relu; 0.25 million parameters; trains in minutes on a CPU."""
    inputs = keras.Input((side, side, 3))
    x = inputs
    for number, filters in enumerate(SMALL_FILTERS, start=1):
        if number > 1:
            x = layers.MaxPooling2D(name=f"block{number}_pool")(x)
        x = layers.Activation("relu", name=f"block{number}_relu")(_convolve(x, filters, f"block{number}"))
    return keras.Model(inputs, x, name="network")


def _build_small_resnet(side: int) -> keras.Model:
    """A convolution and four residual blocks that halve the side (He et al. 2015); 0.6 million parameters."""
    inputs = keras.Input((side, side, 3))
    x = layers.Activation("relu", name="stem_relu")(_convolve(inputs, SMALL_FILTERS[0], "stem", stride=2))
    for number, filters in enumerate(SMALL_FILTERS[1:], start=1):
        shortcut = _convolve(x, filters, f"block{number}_shortcut", kernel=1, stride=2)
        y = layers.Activation("relu", name=f"block{number}a_relu")(_convolve(x, filters, f"block{number}a", stride=2))
        y = layers.Add(name=f"block{number}_add")([shortcut, _convolve(y, filters, f"block{number}b")])
        x = layers.Activation("relu", name=f"block{number}_relu")(y)
    return keras.Model(inputs, x, name="network")


def _convolve(x: Any, filters: int, name: str, kernel: int = 3, stride: int = 1) -> Any:
    x = layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.BatchNormalization(momentum=SMALL_MOMENTUM, name=f"{name}_bn")(x)


_SMALL_NETWORKS: dict[str, Callable[[int], keras.Model]] = {
    "small_cnn": _build_small_cnn,
    "small_resnet": _build_small_resnet,
}


def _build_dense_head(features: tuple[int, ...], classes: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(features),
            layers.Flatten(dtype="float32"),
            layers.Dropout(0.25, dtype="float32"),
            layers.Dense(512, activation="relu", dtype="float32"),
            layers.Dropout(0.25, dtype="float32"),
            layers.Dense(64, activation="relu", dtype="float32"),
            layers.Dense(classes, activation="sigmoid", dtype="float32"),
        ],
        name="head",
    )


def _build_average_pool_head(features: tuple[int, ...], classes: int) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(features),
            layers.GlobalAveragePooling2D(dtype="float32"),
            layers.Dropout(0.2, dtype="float32"),
            layers.Dense(classes, activation="softmax", dtype="float32"),
        ],
        name="head",
    )


HEADS: dict[str, Callable[[tuple[int, ...], int], keras.Model]] = {
    "dense_512_64": _build_dense_head,
    "average_pool": _build_average_pool_head,
}
