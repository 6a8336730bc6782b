"""Inside each model, images are scaled as the library that published the weights scales them."""

import sys

import keras
import numpy as np
import pytest

from covbench.models.catalogue import CLASSIFIERS, SEGMENTERS
from covbench.models.classifier import build_classifier
from covbench.models.scaling import SCALINGS, build_scaling
from covbench.schema import CovbenchError

ENCODERS = {entry.encoder: entry.scaling for entry in SEGMENTERS.values() if entry.encoder}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3)).astype("float32")


@pytest.mark.parametrize("name", [name for name, entry in CLASSIFIERS.items() if entry.constructor])
def test_a_classifier_scales_as_keras_applications_does(name, images):
    entry = CLASSIFIERS[name]
    preprocess = sys.modules[getattr(keras.applications, entry.constructor).__module__].preprocess_input
    scaled = np.asarray(build_scaling("own", entry.scaling)(images))
    np.testing.assert_allclose(scaled, preprocess(images.copy()), atol=2e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_segmenter_scales_as_segmentation_models_does(encoder, images):
    from covbench.models.sm_adapter import sm

    preprocess = sm.get_preprocessing(encoder)
    scaled = np.asarray(build_scaling("own", ENCODERS[encoder])(images))
    np.testing.assert_allclose(scaled, preprocess(images.copy()), atol=2e-5)


NORMALISED = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))
INSIDE = {
    "efficientnetb0": ("stem_conv_pad", *NORMALISED),
    "efficientnetv2b0": ("stem_conv", *NORMALISED),
    "efficientnetv2s": ("stem_conv", 128 / 255, 128 / 255),
    "convnexttiny": ("convnext_tiny_stem", *NORMALISED),
    "mobilenetv3small": ("conv", 0.5, 0.5),
}
"""Networks that scale by themselves: their first layer that is no scaling, mean and deviation of pixels 0-1."""


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", INSIDE)
def test_a_network_that_scales_by_itself_sees_what_its_weights_saw_in_any_precision(name, policy):
    layer, mean, deviation = INSIDE[name]
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = build_classifier(name, 32, 2, "average_pool", "own")
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    backbone = model.get_layer("backbone")
    stem = keras.Model(backbone.inputs, backbone.get_layer(layer).input)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    scaled = stem(model.get_layer("scaling")(images))
    np.testing.assert_allclose(np.asarray(scaled), (images / 255 - mean) / deviation, atol=1e-5)


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
    with pytest.raises(CovbenchError, match="unknown 'imagenet'; known: unit, raw, own"):
        build_scaling("imagenet", "tf")
