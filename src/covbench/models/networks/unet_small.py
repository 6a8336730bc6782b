"""A plain U-Net of 1.9 million parameters after Ronneberger et al. (2015), with batch norm and same padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from covbench.models.architecture import NetworkCard
from covbench.schema import SEGMENTATION

if TYPE_CHECKING:
    import keras

CARD = NetworkCard(
    kind=SEGMENTATION,
    family="Unet",
    title="Small Unet",
    citation="Ronneberger et al., arXiv:1505.04597",
    year=2015,
    multiple=16,
)
FILTERS = (16, 32, 64, 128, 256)


def build(side: int, classes: int) -> keras.Model:
    """Maps scaled images, (B, side, side, 3), to logits, (B, side, side, classes)."""
    import keras
    from keras import layers

    inputs = keras.Input((side, side, 3))
    x = inputs
    skips = []
    for level, filters in enumerate(FILTERS):
        if level > 0:
            x = layers.MaxPooling2D(name=f"down{level}_pool")(x)
        x = _convolve_twice(x, filters, f"down{level}")
        skips.append(x)
    for level in reversed(range(len(FILTERS) - 1)):
        x = layers.Conv2DTranspose(FILTERS[level], 2, strides=2, name=f"up{level}_transpose")(x)
        x = layers.Concatenate(name=f"up{level}_concat")([skips[level], x])
        x = _convolve_twice(x, FILTERS[level], f"up{level}")
    return keras.Model(inputs, layers.Conv2D(classes, 1, name="final_conv")(x), name="network")


def _convolve_twice(x: Any, filters: int, name: str) -> Any:
    from keras import layers

    from covbench.models.blocks import convolve

    for part in "ab":
        x = layers.Activation("relu", name=f"{name}{part}_relu")(convolve(x, filters, f"{name}{part}"))
    return x
