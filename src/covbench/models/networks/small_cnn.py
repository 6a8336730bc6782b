"""Five blocks of convolution, batch norm, relu; 0.25 million parameters; trains in minutes on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covbench.models.architecture import NetworkCard
from covbench.schema import CLASSIFICATION

if TYPE_CHECKING:
    import keras

CARD = NetworkCard(kind=CLASSIFICATION, family="CNN", title="Small CNN", citation="this project", year=2026)
FILTERS = (16, 32, 64, 128, 128)


def build(side: int) -> keras.Model:
    """Maps scaled images, (B, side, side, 3), to features, (B, side / 16, side / 16, 128)."""
    import keras
    from keras import layers

    from covbench.models.blocks import convolve

    inputs = keras.Input((side, side, 3))
    x = inputs
    for number, filters in enumerate(FILTERS, start=1):
        if number > 1:
            x = layers.MaxPooling2D(name=f"block{number}_pool")(x)
        x = layers.Activation("relu", name=f"block{number}_relu")(convolve(x, filters, f"block{number}"))
    return keras.Model(inputs, x, name="network")
