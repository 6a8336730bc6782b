"""What every classifier promises, asked of the small ones; the contract tests ask all."""

import keras
import numpy as np
import pytest

from covbench.models.classifier import build_classifier
from covbench.models.segmenter import build_segmenter
from covbench.schema import CovbenchError

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
    assert kinds == ["Flatten", "Dropout", "Dense", "Dropout", "Dense", "Dense"]
    found = model.predict(IMAGES, verbose=0)
    assert ((found > 0) & (found < 1)).all()


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
        (lambda: build_classifier("small_cnn", 48, 2, "dense", "own"), "known: dense_512_64, average_pool"),
        (lambda: build_segmenter("unet_smal", 48, 2, "own"), "nearest known: unet_small"),
    ],
)
def test_a_wrong_name_is_refused_with_the_known_ones(build, words):
    with pytest.raises(CovbenchError, match=words):
        build()
