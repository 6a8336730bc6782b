"""A convolution and four residual blocks that halve the side (He et al. 2015); 0.6 million parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from covbench.models.architecture import NetworkCard
from covbench.schema import CLASSIFICATION

if TYPE_CHECKING:
    import keras

CARD = NetworkCard(
    kind=CLASSIFICATION,
    family="ResNet",
    title="Small ResNet",
    citation="this project, after He et al., arXiv:1512.03385",
    year=2026,
)
FILTERS = (16, 32, 64, 128, 128)


def build(side: int) -> keras.Model:
    """Maps scaled images, (B, side, side, 3), to features, (B, side / 32, side / 32, 128)."""
    import keras
    from keras import layers

    from covbench.models.blocks import convolve

    inputs = keras.Input((side, side, 3))
    x = layers.Activation("relu", name="stem_relu")(convolve(inputs, FILTERS[0], "stem", stride=2))
    for number, filters in enumerate(FILTERS[1:], start=1):
        shortcut = convolve(x, filters, f"block{number}_shortcut", kernel=1, stride=2)
        y = layers.Activation("relu", name=f"block{number}a_relu")(convolve(x, filters, f"block{number}a", stride=2))
        y = layers.Add(name=f"block{number}_add")([shortcut, convolve(y, filters, f"block{number}b")])
        x = layers.Activation("relu", name=f"block{number}_relu")(y)
    return keras.Model(inputs, x, name="network")
