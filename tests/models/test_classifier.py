"""What every classifier promises, asked of the small ones; the contract tests ask all."""

import keras
import numpy as np
import pytest

from covbench.models.classifier import HEADS, build_classifier
from covbench.models.losses import build_loss
from covbench.models.segmenter import build_segmenter
from covbench.schema import CovbenchError
from covbench.training.classifier_parts import show_logits

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)


def test_uint8_and_float_images_give_the_same_probabilities():
    model = build_classifier("small_cnn", 48, 3, "average_pool", "own")
    assert np.array_equal(model.predict(IMAGES, verbose=0), model.predict(IMAGES.astype("float32"), verbose=0))


def test_the_average_pool_head_gives_probabilities_that_sum_to_one():
    found = build_classifier("small_cnn", 48, 3, "average_pool", "own").predict(IMAGES, verbose=0)
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_the_studys_head_gives_a_sigmoid_per_class():
    model = build_classifier("small_cnn", 48, 2, "dense_512_64", "own")
    kinds = [type(layer).__name__ for layer in model.get_layer("head").layers]
    assert kinds == ["Flatten", "Dropout", "Dense", "Dropout", "Dense", "Dense", "Activation"]
    found = model.predict(IMAGES, verbose=0)
    assert ((found > 0) & (found < 1)).all()


def test_the_studys_head_for_three_classes_pools_and_has_no_dropout():
    model = build_classifier("small_cnn", 48, 3, "pooled_logits", "unit")
    kinds = [type(layer).__name__ for layer in model.get_layer("head").layers]
    assert kinds == ["GlobalAveragePooling2D", "Dense", "Activation"]
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_ends_in_logits_and_the_probabilities_that_follow_from_them(head):
    model = build_classifier("small_cnn", 48, 3, head, "own")
    dense, activation = model.get_layer("head").layers[-2:]
    assert (dense.name, activation.name) == ("logits", "probabilities")
    assert dense.activation is keras.activations.linear
    probabilities, logits = show_logits(model).predict(IMAGES, verbose=0)
    np.testing.assert_allclose(probabilities, model.predict(IMAGES, verbose=0), atol=1e-6)
    expected = 1 / (1 + np.exp(-logits)) if head == "dense_512_64" else _softmax(logits)
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


def _softmax(logits):
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("head", HEADS)
def test_every_head_is_trained_as_the_softmax_of_its_logits(head):
    """Keras does so with two sigmoids under categorical cross entropy, in the study's version as in this one."""
    keras.utils.set_random_seed(0)
    model = build_classifier("small_cnn", 48, 3, head, "unit")
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    model.get_layer("network").trainable = False
    dense = model.get_layer("head").get_layer("logits")
    dense.set_weights([dense.get_weights()[0], np.array([30.0, -9.0, 0.0])])  # so sure that a probability rounds to 1
    probabilities, logits = show_logits(model).predict(IMAGES, verbose=0)
    assert probabilities.max() == 1
    truth = np.eye(3, dtype=np.float32)[[1, 2]]
    before = dense.get_weights()[1]
    model.compile(keras.optimizers.SGD(1.0), build_loss("categorical_crossentropy"))
    cost = model.fit(IMAGES.astype("float32"), truth, batch_size=2, verbose=0).history["loss"][0]
    largest = logits.max(axis=1, keepdims=True)
    log_softmax = logits - largest - np.log(np.exp(logits - largest).sum(axis=1, keepdims=True))
    assert cost == pytest.approx(-(truth * log_softmax).sum(axis=1).mean(), rel=1e-5)
    gradient = (_softmax(logits) - truth).mean(axis=0)
    np.testing.assert_allclose(before - dense.get_weights()[1], gradient, atol=1e-5)


def test_freezing_the_backbone_leaves_the_head_alone_to_learn():
    model = build_classifier("mobilenetv2_035", 32, 3, "average_pool", "own")
    model.get_layer("backbone").trainable = False
    assert [variable.shape for variable in model.trainable_variables] == [(1280, 3), (3,)]


def test_an_image_below_the_smallest_size_is_enlarged_inside():
    model = build_classifier("small_cnn", 20, 2, "average_pool", "own")
    assert model.input_shape == (None, 20, 20, 3)
    assert model.get_layer("network").input_shape == (None, 32, 32, 3)


def test_a_map_comes_back_at_the_size_of_the_image():
    model = build_segmenter("unet_small", 50, 3, "own")
    assert model.get_layer("network").input_shape == (None, 48, 48, 3)
    found = model.predict(np.zeros((1, 50, 50, 3), np.uint8), verbose=0)
    assert found.shape == (1, 50, 50, 3)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-6)


def test_outputs_are_float32_in_mixed_precision():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16")
    try:
        models = [
            build_classifier("small_cnn", 48, 2, "dense_512_64", "own"),
            build_classifier("small_cnn", 48, 2, "average_pool", "own"),
            build_segmenter("unet_small", 48, 2, "own"),
        ]
    finally:
        keras.mixed_precision.set_dtype_policy(before)
    for model in models:
        assert model.get_layer("network").compute_dtype == "bfloat16"
        assert model.predict(IMAGES, verbose=0).dtype == np.float32


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: build_classifier("unet_small", 48, 2, "average_pool", "own"), "unet_small segments"),
        (lambda: build_segmenter("small_cnn", 48, 2, "own"), "small_cnn classifies"),
        (
            lambda: build_classifier("small_cnn", 48, 2, "dense", "own"),
            "known: dense_512_64, pooled_logits",
        ),
        (lambda: build_segmenter("unet_smal", 48, 2, "own"), "nearest known: unet_small"),
    ],
)
def test_a_wrong_name_is_refused_with_the_known_ones(build, words):
    with pytest.raises(CovbenchError, match=words):
        build()
