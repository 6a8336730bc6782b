"""What the networks that are drawn here are made of."""

from __future__ import annotations

from typing import Any

from keras import layers

MOMENTUM = 0.9  # for small networks: statistics follow within tens of steps, where Keras's .99 needs hundreds


def convolve(x: Any, filters: int, name: str, kernel: int = 3, stride: int = 1) -> Any:
    """A convolution without bias and its batch norm, layers `{name}_conv` and `{name}_bn`.

    Args:
        x: a Keras tensor, (B, H, W, C).
        filters: number of channels that come out.
        name: prefix of the layers' names.
        kernel: side of the kernel, pixels.
        stride: 2 halves the side.

    Returns:
        A Keras tensor, (B, H / stride, W / stride, filters).
    """
    x = layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_bn")(x)
