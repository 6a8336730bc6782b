"""What is known of a network before it is built. Imports no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """What a network is called, what it wants and where it comes from.

    kind: classification or segmentation.
    constructor: in keras.applications for a classifier, in segmentation_models for a segmenter (its decoder);
        empty for a network that a file of covbench.models.networks draws.
    encoder: the name that segmentation-models gives its encoder; empty otherwise.
    alpha: width multiplier of MobileNetV2; 1 otherwise.
    weights: key of the ImageNet weights without top (`keras/vgg16`, `sm/vgg19`); None: only trained from scratch.
    scaling: the input scaling that the weights were trained with, a name of covbench.models.scaling.SCALINGS.
    smallest: smallest side of the input, pixels. multiple: the side has to be a multiple of this.
    family: architectures that share a design. title: for tables and figures.
    """

    name: str
    kind: str
    constructor: str
    encoder: str
    alpha: float
    weights: str | None
    scaling: str
    smallest: int
    multiple: int
    family: str
    title: str
    citation: str
    year: int


@dataclass(frozen=True)
class NetworkCard:
    """What the catalogue says of a network that this project draws; the network's name is that of its file.

    kind, family, title, citation, year, smallest, multiple: as in Architecture.
    """

    kind: str
    family: str
    title: str
    citation: str
    year: int
    smallest: int = 32
    multiple: int = 1


def describe_network(name: str, card: NetworkCard) -> Architecture:
    """The catalogue's entry of a network that is drawn here: pixels scaled to 0-1, trained from scratch."""
    return Architecture(
        name=name,
        kind=card.kind,
        constructor="",
        encoder="",
        alpha=1.0,
        weights=None,
        scaling="unit",
        smallest=card.smallest,
        multiple=card.multiple,
        family=card.family,
        title=card.title,
        citation=card.citation,
        year=card.year,
    )
