"""Precision, and memory that is not there: on a CPU, since the choice and the networks are the same on a GPU."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf

from covbench.models.batch_norm import fused_batch_norm
from covbench.models.catalogue import input_size
from covbench.models.classifier import build_classifier
from covbench.models.losses import build_loss
from covbench.models.segmenter import build_segmenter
from covbench.schema import CovbenchError
from covbench.training.devices import (
    compute_in_float32,
    is_out_of_memory,
    require_capable,
    set_precision,
)

CLASSES = 3
LOSSES = {"classifier": "categorical_crossentropy", "segmenter": "combo"}


@pytest.fixture(autouse=True)
def _float32_again():
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()
    gc.collect()


@pytest.mark.parametrize("name", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_precision_is_taken_as_it_is_named(name):
    set_precision(name)
    assert keras.layers.Dense(1).dtype_policy.name == name


def test_float32_is_not_rounded_to_tensorfloat_on_a_gpu():
    allowed = tf.config.experimental.tensor_float_32_execution_enabled
    set_precision("mixed_bfloat16")
    assert allowed()
    set_precision("float32")
    assert not allowed()


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("float32", (6, 0)),
        ("float32", None),
        ("mixed_float16", (7, 5)),
        ("mixed_bfloat16", (8, 0)),
        ("mixed_bfloat16", (12, 0)),
        ("mixed_bfloat16", None),
    ],
)
def test_a_device_that_can_compute_in_a_precision_is_accepted(name, capability):
    require_capable(name, capability)


def test_a_gpu_without_bfloat16_is_refused_with_what_to_write():
    message = (
        r"precision: mixed_bfloat16 needs a GPU of compute capability 8\.0, and this one has 7\.5; choose mixed_float16"
    )
    with pytest.raises(CovbenchError, match=message):
        require_capable("mixed_bfloat16", (7, 5))


@pytest.mark.parametrize(
    ("kind", "name", "precision"),
    [
        ("classifier", "small_cnn", "mixed_float16"),
        ("classifier", "mobilenetv2_035", "mixed_bfloat16"),
        ("segmenter", "unet_small", "mixed_float16"),
        ("segmenter", "unet_mobilenetv2", "mixed_bfloat16"),
        ("segmenter", "pspnet_resnet34", "mixed_bfloat16"),
        ("segmenter", "linknet_mobilenetv2", "mixed_bfloat16"),
        ("segmenter", "fpn_mobilenetv2", "mixed_bfloat16"),
    ],
)
def test_a_network_of_mixed_precision_learns_in_float32_and_predicts_the_same_after_saving(
    kind, name, precision, tmp_path
):
    set_precision(precision)
    model, images, targets = _build(kind, name)
    loss, accuracy = _step(model, kind, images, targets)
    assert np.isfinite([loss, accuracy]).all()
    assert _compute_dtypes(model) == {"float32", precision.removeprefix("mixed_")}
    assert model.output.dtype == "float32"
    assert {variable.dtype for variable in model.trainable_variables + model.metrics_variables} == {"float32"}
    compute_in_float32(model)
    assert _compute_dtypes(model) == {"float32"}
    published = _predict(model, images)
    keras.Model(model.inputs, model.outputs).save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert _compute_dtypes(loaded) == {"float32"}
    np.testing.assert_allclose(_predict(loaded, images), published, atol=1e-6)


def test_after_training_it_is_the_network_that_was_never_mixed_whatever_it_predicted_before():
    set_precision("mixed_bfloat16")
    model, images, targets = _build("classifier", "small_cnn")
    _step(model, "classifier", images, targets)
    mixed = model.predict(images, verbose=0)
    compute_in_float32(model)
    keras.config.set_dtype_policy("float32")
    never_mixed, _, _ = _build("classifier", "small_cnn")
    never_mixed.set_weights(model.get_weights())
    assert not np.array_equal(model.predict(images, verbose=0), mixed)
    assert np.array_equal(model.predict(images, verbose=0), never_mixed.predict(images, verbose=0))


def _predict(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def _build(kind, name):
    side = input_size(name, 48)
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype("float32")
    if kind == "classifier":
        return build_classifier(name, side, CLASSES, "average_pool", "own"), images, np.eye(CLASSES)[[0, 2]]
    targets = np.eye(CLASSES)[images[..., 0].astype(int) % CLASSES]
    return build_segmenter(name, side, CLASSES, "own"), images, targets


def _step(model, kind, images, targets):
    """Without a graph, whose tracing would take most of the time."""
    metrics = [keras.metrics.CategoricalAccuracy(name="accuracy")]
    model.compile(keras.optimizers.Adam(1e-3), build_loss(LOSSES[kind]), metrics=metrics, run_eagerly=True)
    with fused_batch_norm():
        return model.train_on_batch(images, targets)


def _compute_dtypes(model):
    return {layer.compute_dtype for layer in model._flatten_layers() if not isinstance(layer, keras.layers.InputLayer)}


@pytest.mark.parametrize("head", ["dense_512_64", "average_pool"])
def test_heads_and_scalings_compute_in_float32(head):
    set_precision("mixed_float16")
    model = build_classifier("efficientnetb0", 32, CLASSES, head, "own")
    ours = [*model.get_layer("head").layers, model.get_layer("scaling")]
    scalings = (keras.layers.Rescaling, keras.layers.Normalization)
    inside = [layer for layer in model.get_layer("backbone").layers if isinstance(layer, scalings)]
    assert len(inside) == 2
    assert {layer.compute_dtype for layer in ours + inside} == {"float32"}


def test_the_scale_of_a_float16_loss_is_saved_with_the_optimizer():
    set_precision("mixed_float16")
    model, images, targets = _build("classifier", "small_cnn")
    _step(model, "classifier", images, targets)
    assert "dynamic_scale" in {variable.name for variable in model.optimizer.variables}


def test_memory_that_is_not_there_is_told_from_other_mistakes():
    with pytest.raises(Exception, match="OOM") as caught:
        keras.ops.ones((2**22, 2**22), "float32")  # 64 TiB
    assert is_out_of_memory(caught.value)
    with pytest.raises(Exception, match=r"ncompatible|size") as caught:
        keras.ops.matmul(keras.ops.ones((2, 3)), keras.ops.ones((2, 3)))
    assert not is_out_of_memory(caught.value)
