"""Every architecture and what has to be known about it before it is built. Imports no TensorFlow.

A classifier is an ImageNet backbone of keras.applications with a new head; a segmenter is a decoder of
segmentation-models around an ImageNet encoder. Each is a line in a table below. A network that this project draws is a
file in covbench.models.networks, found by itself.
"""

from __future__ import annotations

from difflib import get_close_matches

from covbench.models.architecture import Architecture, describe_network
from covbench.models.networks import NETWORKS
from covbench.schema import CLASSIFICATION, SEGMENTATION, CovbenchError


def _classifier(
    name: str,
    constructor: str,
    scaling: str,
    smallest: int,
    family: str,
    citation: str,
    year: int,
    alpha: float = 1.0,
) -> Architecture:
    return Architecture(
        name=name,
        kind=CLASSIFICATION,
        constructor=constructor,
        encoder="",
        alpha=alpha,
        weights=f"keras/{name}",
        scaling=scaling,
        smallest=smallest,
        multiple=1,
        family=family,
        title=constructor if alpha == 1.0 else f"{constructor} {alpha}",
        citation=citation,
        year=year,
    )


_VGG = ("Simonyan and Zisserman, arXiv:1409.1556", 2014)
_RESNET = ("He et al., arXiv:1512.03385", 2015)
_RESNET_V2 = ("He et al., arXiv:1603.05027", 2016)
_NASNET = ("Zoph et al., arXiv:1707.07012", 2017)
_INCEPTION_V3 = ("Szegedy et al., arXiv:1512.00567", 2015)
_INCEPTION_RESNET = ("Szegedy et al., arXiv:1602.07261", 2016)
_EFFICIENTNET = ("Tan and Le, arXiv:1905.11946", 2019)
_XCEPTION = ("Chollet, arXiv:1610.02357", 2016)
_MOBILENET_V2 = ("Sandler et al., arXiv:1801.04381", 2018)
_MOBILENET = ("Howard et al., arXiv:1704.04861", 2017)
_MOBILENET_V3 = ("Howard et al., arXiv:1905.02244", 2019)
_EFFICIENT_V2 = ("Tan and Le, arXiv:2104.00298", 2021)
_CONVNEXT = ("Liu et al., arXiv:2201.03545", 2022)
_DENSENET = ("Huang et al., arXiv:1608.06993", 2016)
_SENET = ("Hu et al., arXiv:1709.01507", 2017)

# fmt: off
# name, keras.applications, own scaling, smallest side, family, citation, year
_STUDIED_CLASSIFIERS = (
    _classifier("vgg16", "VGG16", "caffe", 32, "VGG", *_VGG),
    _classifier("vgg19", "VGG19", "caffe", 32, "VGG", *_VGG),
    _classifier("resnet50", "ResNet50", "caffe", 32, "ResNet", *_RESNET),
    _classifier("resnet50v2", "ResNet50V2", "tf", 32, "ResNet", *_RESNET_V2),
    _classifier("resnet101v2", "ResNet101V2", "tf", 32, "ResNet", *_RESNET_V2),
    _classifier("nasnetlarge", "NASNetLarge", "tf", 32, "NASNet", *_NASNET),
    _classifier("inceptionv3", "InceptionV3", "tf", 75, "Inception", *_INCEPTION_V3),
    _classifier("inceptionresnetv2", "InceptionResNetV2", "tf", 75, "Inception", *_INCEPTION_RESNET),
    _classifier("efficientnetb0", "EfficientNetB0", "none", 32, "EfficientNet", *_EFFICIENTNET),
    _classifier("xception", "Xception", "tf", 71, "Xception", *_XCEPTION),
    _classifier("mobilenetv2", "MobileNetV2", "tf", 32, "MobileNet", *_MOBILENET_V2),
    _classifier("densenet121", "DenseNet121", "torch", 32, "DenseNet", *_DENSENET),
)
_OTHER_CLASSIFIERS = (
    _classifier("mobilenetv2_035", "MobileNetV2", "tf", 32, "MobileNet", *_MOBILENET_V2, alpha=0.35),
    _classifier("resnet101", "ResNet101", "caffe", 32, "ResNet", *_RESNET),
    _classifier("resnet152", "ResNet152", "caffe", 32, "ResNet", *_RESNET),
    _classifier("resnet152v2", "ResNet152V2", "tf", 32, "ResNet", *_RESNET_V2),
    _classifier("densenet169", "DenseNet169", "torch", 32, "DenseNet", *_DENSENET),
    _classifier("densenet201", "DenseNet201", "torch", 32, "DenseNet", *_DENSENET),
    _classifier("mobilenet", "MobileNet", "tf", 32, "MobileNet", *_MOBILENET),
    _classifier("mobilenetv3small", "MobileNetV3Small", "none", 32, "MobileNet", *_MOBILENET_V3),
    _classifier("mobilenetv3large", "MobileNetV3Large", "none", 32, "MobileNet", *_MOBILENET_V3),
    _classifier("nasnetmobile", "NASNetMobile", "tf", 32, "NASNet", *_NASNET),
    _classifier("efficientnetb1", "EfficientNetB1", "none", 32, "EfficientNet", *_EFFICIENTNET),
    _classifier("efficientnetb2", "EfficientNetB2", "none", 32, "EfficientNet", *_EFFICIENTNET),
    _classifier("efficientnetb3", "EfficientNetB3", "none", 32, "EfficientNet", *_EFFICIENTNET),
    _classifier("efficientnetb4", "EfficientNetB4", "none", 32, "EfficientNet", *_EFFICIENTNET),
    _classifier("efficientnetb5", "EfficientNetB5", "none", 32, "EfficientNet", *_EFFICIENTNET),
    _classifier("efficientnetb6", "EfficientNetB6", "none", 32, "EfficientNet", *_EFFICIENTNET),
    _classifier("efficientnetb7", "EfficientNetB7", "none", 32, "EfficientNet", *_EFFICIENTNET),
    _classifier("efficientnetv2b0", "EfficientNetV2B0", "none", 32, "EfficientNet", *_EFFICIENT_V2),
    _classifier("efficientnetv2b1", "EfficientNetV2B1", "none", 32, "EfficientNet", *_EFFICIENT_V2),
    _classifier("efficientnetv2b2", "EfficientNetV2B2", "none", 32, "EfficientNet", *_EFFICIENT_V2),
    _classifier("efficientnetv2b3", "EfficientNetV2B3", "none", 32, "EfficientNet", *_EFFICIENT_V2),
    _classifier("efficientnetv2s", "EfficientNetV2S", "none", 32, "EfficientNet", *_EFFICIENT_V2),
    _classifier("efficientnetv2m", "EfficientNetV2M", "none", 32, "EfficientNet", *_EFFICIENT_V2),
    _classifier("efficientnetv2l", "EfficientNetV2L", "none", 32, "EfficientNet", *_EFFICIENT_V2),
    _classifier("convnexttiny", "ConvNeXtTiny", "none", 32, "ConvNeXt", *_CONVNEXT),
    _classifier("convnextsmall", "ConvNeXtSmall", "none", 32, "ConvNeXt", *_CONVNEXT),
    _classifier("convnextbase", "ConvNeXtBase", "none", 32, "ConvNeXt", *_CONVNEXT),
    _classifier("convnextlarge", "ConvNeXtLarge", "none", 32, "ConvNeXt", *_CONVNEXT),
    _classifier("convnextxlarge", "ConvNeXtXLarge", "none", 32, "ConvNeXt", *_CONVNEXT),
)

# name, segmentation_models, side a multiple of, smallest side, title, citation, year
_DECODERS = (
    ("unet", "Unet", 32, 32, "Unet", "Ronneberger et al., arXiv:1505.04597", 2015),
    ("pspnet", "PSPNet", 48, 48, "PSPNet", "Zhao et al., arXiv:1612.01105", 2016),
    ("linknet", "Linknet", 32, 32, "Linknet", "Chaurasia and Culurciello, arXiv:1707.03718", 2017),
    ("fpn", "FPN", 32, 32, "FPN", "Lin et al., arXiv:1612.03144", 2016),
)
# name, weights, own scaling, smallest side, title, citation, year
_STUDIED_ENCODERS = (
    ("vgg19", "sm/vgg19", "caffe", 32, "VGG19", *_VGG),
    ("densenet121", "sm/densenet121", "torch", 32, "DenseNet121", *_DENSENET),
    ("seresnet101", "sm/seresnet101", "torch", 32, "SE-ResNet101", *_SENET),
    ("inceptionresnetv2", "sm/inceptionresnetv2", "tf", 75, "InceptionResNetV2", *_INCEPTION_RESNET),
    ("efficientnetb3", "sm/efficientnetb3", "torch", 32, "EfficientNetB3", *_EFFICIENTNET),
    ("mobilenetv2", "sm/mobilenetv2", "tf", 32, "MobileNetV2", *_MOBILENET_V2),
)
_OTHER_ENCODERS = (
    ("seresnext101", "sm/seresnext101", "torch", 32, "SE-ResNeXt101", *_SENET),
    ("resnet34", "sm/resnet34", "none", 32, "ResNet34", *_RESNET),
    ("efficientnetb0", "sm/efficientnetb0", "torch", 32, "EfficientNetB0", *_EFFICIENTNET),
)
# fmt: on


BASELINES: dict[str, str] = {
    "majority": CLASSIFICATION,
    "hog_logistic": CLASSIFICATION,
    "intensity_logistic": CLASSIFICATION,
    "empty_mask": SEGMENTATION,
    "lung_threshold": SEGMENTATION,
}


def _segmenter(decoder: tuple[str, str, int, int, str, str, int], encoder: tuple) -> Architecture:
    name, constructor, multiple, smallest, title, citation, year = decoder
    encoder_name, weights, scaling, encoder_smallest, encoder_title, encoder_citation, _ = encoder
    return Architecture(
        name=f"{name}_{encoder_name}",
        kind=SEGMENTATION,
        constructor=constructor,
        encoder=encoder_name,
        alpha=1.0,
        weights=weights,
        scaling=scaling,
        smallest=max(smallest, encoder_smallest),
        multiple=multiple,
        family=title,
        title=f"{title}, {encoder_title}",
        citation=f"{citation}; {encoder_citation}",
        year=year,
    )


def _by_name(kind: str, *tables: tuple[Architecture, ...]) -> dict[str, Architecture]:
    drawn = tuple(describe_network(name, module.CARD) for name, module in NETWORKS.items() if module.CARD.kind == kind)
    entries = [entry for table in (*tables, drawn) for entry in table]
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise CovbenchError(f"two networks are called {name!r}; rename the file in covbench/models/networks")
    return dict(zip(names, entries, strict=True))


_STUDIED_SEGMENTERS = tuple(_segmenter(decoder, encoder) for decoder in _DECODERS for encoder in _STUDIED_ENCODERS)
_OTHER_SEGMENTERS = tuple(_segmenter(decoder, encoder) for decoder in _DECODERS for encoder in _OTHER_ENCODERS)

CLASSIFIERS: dict[str, Architecture] = _by_name(CLASSIFICATION, _STUDIED_CLASSIFIERS, _OTHER_CLASSIFIERS)
SEGMENTERS: dict[str, Architecture] = _by_name(SEGMENTATION, _STUDIED_SEGMENTERS, _OTHER_SEGMENTERS)
DEFAULT_CLASSIFIERS: tuple[str, ...] = tuple(architecture.name for architecture in _STUDIED_CLASSIFIERS)
DEFAULT_SEGMENTERS: tuple[str, ...] = tuple(architecture.name for architecture in _STUDIED_SEGMENTERS)


def architecture(name: str) -> Architecture:
    """The catalogue's entry. Raises CovbenchError with the nearest known names if there is none."""
    known = CLASSIFIERS | SEGMENTERS
    if name not in known:
        raise _unknown(name, list(known))
    return known[name]


def kind_of(name: str) -> str:
    """classification or segmentation, for an architecture or a baseline. Raises CovbenchError if unknown."""
    kinds = {entry.name: entry.kind for entry in (CLASSIFIERS | SEGMENTERS).values()} | BASELINES
    if name not in kinds:
        raise _unknown(name, list(kinds))
    return kinds[name]


def input_size(name: str, size: int) -> int:
    """The side, in pixels, at which a network sees images of side `size`.

    Every model takes the task's size and returns maps of that size: where its network cannot, the model resizes
    inside (bilinear) to the nearest multiple of `multiple`, a tie going up, but to no less than the least multiple that
    reaches `smallest`. So PSPNet sees 320 as 336 and InceptionV3 sees 64 as 75.
    Raises CovbenchError for an unknown name or a size below 1.
    """
    entry = architecture(name)
    if size < 1:
        raise CovbenchError(f"size: {size} pixels; images need at least 1, and {name} is meant for {entry.smallest} up")
    nearest = (2 * size + entry.multiple) // (2 * entry.multiple) * entry.multiple
    least = -(-entry.smallest // entry.multiple) * entry.multiple
    return max(nearest, least)


def _unknown(name: str, known: list[str]) -> CovbenchError:
    near = get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)
    return CovbenchError(f"unknown architecture {name!r}; nearest known: {', '.join(near)}")
