"""Cut a classifier at the features of its backbone and at its logits. The parts share its layers."""

from __future__ import annotations

import functools

import keras

BACKBONES = ("backbone", "network")


@functools.lru_cache(maxsize=1)  # every layer of the backbone is called anew for each cut
def cut_at_features(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut a classifier in two: from raw images, (B, H, W, 3), 0-255, to the backbone's features, and on to logits."""
    x = images = keras.Input(model.input_shape[1:], dtype="float32")
    for layer in model.layers[1:]:
        x = layer(x, training=False) if layer.name in BACKBONES else layer(x)
        if layer.name in BACKBONES:
            break
    head = model.get_layer("head")
    return keras.Model(images, x), keras.Model(head.inputs[0], head.get_layer("logits").output)


@functools.lru_cache(maxsize=1)  # a graph of its own is traced once for all folds
def show_logits(model: keras.Model) -> keras.Model:
    """Make a network that gives two outputs, (B, C) each: its probabilities and its logits.

    model: a classifier, or its head alone (training.frozen_features.cut_classifier).
    """
    x = inputs = keras.Input(model.input_shape[1:], dtype="float32")
    *before, last = model.layers[1:]
    outputs = {}
    for layer in (*before, *(last.layers if isinstance(last, keras.Model) else [last])):
        x = outputs[layer.name] = layer(x)
    return keras.Model(inputs, [outputs["probabilities"], outputs["logits"]])
