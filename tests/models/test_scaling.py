"""Inside each model, images are scaled as the library that published the weights scales them."""

import keras
import numpy as np
import pytest

from covbench.models.catalogue import CLASSIFIERS, SEGMENTERS
from covbench.models.classifier import build_classifier
from covbench.models.scaling import SCALINGS, build_scaling
from covbench.schema import CovbenchError

MODULES = {
    "vgg16": "vgg16",
    "vgg19": "vgg19",
    "resnet50": "resnet50",
    "resnet50v2": "resnet_v2",
    "resnet101v2": "resnet_v2",
    "nasnetlarge": "nasnet",
    "inceptionv3": "inception_v3",
    "inceptionresnetv2": "inception_resnet_v2",
    "efficientnetb0": "efficientnet",
    "xception": "xception",
    "mobilenetv2": "mobilenet_v2",
    "mobilenetv2_035": "mobilenet_v2",
    "densenet121": "densenet",
}
ENCODERS = {entry.encoder: entry.scaling for entry in SEGMENTERS.values() if entry.encoder}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3)).astype("float32")


@pytest.mark.parametrize("name", [name for name, entry in CLASSIFIERS.items() if entry.weights])
def test_a_classifier_scales_as_keras_applications_does(name, images):
    preprocess = getattr(keras.applications, MODULES[name]).preprocess_input
    scaled = np.asarray(build_scaling("own", CLASSIFIERS[name].scaling)(images))
    np.testing.assert_allclose(scaled, preprocess(images.copy()), atol=2e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_segmenter_scales_as_segmentation_models_does(encoder, images):
    from covbench.models.sm_adapter import sm

    preprocess = sm.get_preprocessing(encoder)
    scaled = np.asarray(build_scaling("own", ENCODERS[encoder])(images))
    np.testing.assert_allclose(scaled, preprocess(images.copy()), atol=2e-5)


def test_efficientnet_sees_imagenet_normalised_pixels_though_built_without_weights(images):
    backbone = build_classifier("efficientnetb0", 32, 2, "average_pool", "own").get_layer("backbone")
    stem = keras.Model(backbone.inputs, backbone.get_layer("stem_conv_pad").input)
    whole = np.tile(images, (1, 7, 7, 1))[:, :32, :32]
    expected = (whole / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(stem.predict(whole, verbose=0), expected, atol=1e-5)


def test_efficientnet_at_unit_scaling_scales_twice_as_in_the_study(images):
    model = build_classifier("efficientnetb0", 32, 2, "average_pool", "unit")
    whole = np.tile(images, (1, 7, 7, 1))[:, :32, :32]
    stem = keras.Model(model.inputs, model.get_layer("scaling").output)
    np.testing.assert_allclose(stem.predict(whole, verbose=0), whole / 255, atol=1e-6)
    assert any(isinstance(layer, keras.layers.Rescaling) for layer in model.get_layer("backbone").layers)


@pytest.mark.parametrize("name", SCALINGS)
def test_scaling_stays_float32_in_mixed_precision(name):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        scaled = SCALINGS[name]()(np.full((1, 2, 2, 3), 255, np.float32))
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    assert keras.backend.standardize_dtype(scaled.dtype) == "float32"


def test_an_unknown_scaling_is_refused():
    with pytest.raises(CovbenchError, match="unknown 'imagenet'; known: unit, own"):
        build_scaling("imagenet", "tf")
