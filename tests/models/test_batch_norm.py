"""Batch-norm statistics after refreshing, and the fused kernel against the stock one."""

from contextlib import contextmanager, nullcontext

import keras
import numpy as np
import pytest
from keras import layers

from covbench.models import batch_norm
from covbench.models.batch_norm import fused_batch_norm, refresh_batch_norm
from covbench.models.classifier import build_classifier

tf = pytest.importorskip("tensorflow")


def _model(*stack):
    return keras.Sequential([keras.Input((4, 4, 3)), *stack])


def _batches(sizes, seed=0):
    random = np.random.default_rng(seed)
    return [
        random.normal(3.0 * index, 1 + index, (size, 4, 4, 3)).astype("float32") for index, size in enumerate(sizes)
    ]


def test_refreshed_statistics_are_those_of_all_images_together():
    norm = layers.BatchNormalization()
    batches = _batches([8, 8, 3])
    refresh_batch_norm(_model(norm), batches)
    pooled = np.concatenate(batches)
    np.testing.assert_allclose(norm.moving_mean, pooled.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, pooled.var(axis=(0, 1, 2)), rtol=1e-4)


def test_batches_may_carry_targets():
    norm = layers.BatchNormalization()
    images = _batches([8])[0]
    refresh_batch_norm(_model(norm), [(images, np.zeros(8))])
    np.testing.assert_allclose(norm.moving_mean, images.mean(axis=(0, 1, 2)), rtol=1e-4)


def test_layers_of_a_nested_network_are_refreshed_too():
    norm = layers.BatchNormalization()
    images = _batches([8])[0]
    refresh_batch_norm(_model(_model(norm)), [images])
    np.testing.assert_allclose(norm.moving_mean, images.mean(axis=(0, 1, 2)), rtol=1e-4)


def test_dropout_is_off_while_refreshing_and_on_again_after():
    dropout, norm = layers.Dropout(0.5), layers.BatchNormalization(momentum=0.9)
    images = _batches([16])[0]
    refresh_batch_norm(_model(dropout, norm), [images])
    np.testing.assert_allclose(norm.moving_variance, images.var(axis=(0, 1, 2)), rtol=1e-4)
    assert (dropout.rate, norm.momentum) == (0.5, 0.9)


def test_weights_and_frozen_layers_stay_as_they_are():
    dense, frozen, norm = layers.Dense(3), layers.BatchNormalization(trainable=False), layers.BatchNormalization()
    model = _model(dense, frozen, norm)
    before = [value.copy() for value in (*dense.get_weights(), *frozen.get_weights(), *norm.get_weights()[:2])]
    refresh_batch_norm(model, _batches([4, 4]))
    after = [*dense.get_weights(), *frozen.get_weights(), *norm.get_weights()[:2]]
    assert all(np.array_equal(*pair) for pair in zip(before, after, strict=True))


def test_a_layer_unfrozen_since_the_last_refresh_is_refreshed():
    first, second = layers.BatchNormalization(trainable=False), layers.BatchNormalization()
    model, images = _model(first, second), _batches([8])[0]
    refresh_batch_norm(model, [images])
    assert np.array_equal(first.moving_mean, np.zeros(3))
    first.trainable = True
    refresh_batch_norm(model, [images])
    np.testing.assert_allclose(first.moving_mean, images.mean(axis=(0, 1, 2)), rtol=1e-4)


def test_statistics_spoilt_by_nan_recover():
    norm = layers.BatchNormalization()
    model, images = _model(norm), _batches([8])[0]
    norm.moving_variance.assign(np.full(3, np.nan))
    refresh_batch_norm(model, [images])
    np.testing.assert_allclose(norm.moving_variance, images.var(axis=(0, 1, 2)), rtol=1e-4)


def test_stale_statistics_make_a_good_model_look_bad_until_refreshed():
    keras.utils.set_random_seed(0)
    model = _model(layers.BatchNormalization(momentum=0.999), layers.GlobalAveragePooling2D(), layers.Dense(1))
    images = _batches([64])[0] * np.linspace(1, 5, 64, dtype="float32")[:, None, None, None] + 50
    targets = images.mean(axis=(1, 2, 3))[:, None]
    targets = (targets - targets.mean()) / targets.std()
    model.compile(keras.optimizers.Adam(0.05), "mse")
    model.fit(images, targets, batch_size=64, epochs=60, verbose=0)
    stale = model.evaluate(images, targets, verbose=0)
    refresh_batch_norm(model, [images])
    assert model.evaluate(images, targets, verbose=0) < 0.1 * stale


def test_no_batches_is_an_error():
    with pytest.raises(ValueError, match="no batch"):
        refresh_batch_norm(_model(layers.BatchNormalization()), [])


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="the fused kernel is for CPUs")
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"epsilon": 1e-5, "momentum": 0.9}])
def test_the_fused_kernel_gives_the_same_values_gradients_and_statistics(options):
    images = _batches([4, 8])[1]
    found = []
    for fused in (False, True):
        norm = layers.BatchNormalization(**options)
        norm.build(images.shape)
        if norm.gamma is not None:
            norm.gamma.assign([0.5, 1.0, 2.0])
        found.append(_train_once(norm, images, fused))
    for stock, quick in zip(*found, strict=True):
        np.testing.assert_allclose(quick, stock, rtol=1e-5, atol=1e-5)


def _train_once(norm, images, fused):
    kernel = _count_fused_kernels(norm, images) if fused else 0
    assert bool(kernel) == fused
    with tf.GradientTape() as tape:
        inputs = tf.constant(images)
        tape.watch(inputs)
        if fused:
            with fused_batch_norm():
                outputs = norm(inputs, training=True)
        else:
            outputs = norm(inputs, training=True)
        cost = tf.reduce_sum(outputs * tf.cos(inputs))
    gradients = tape.gradient(cost, [inputs, *(variable.value for variable in norm.trainable_variables)])
    return [outputs, *gradients, norm.moving_mean.numpy(), norm.moving_variance.numpy()]


def _count_fused_kernels(norm, images):
    with fused_batch_norm():
        graph = tf.function(lambda x: norm(x, training=True)).get_concrete_function(tf.TensorSpec(images.shape)).graph
    return sum(operation.type == "FusedBatchNormV3" for operation in graph.get_operations())


def test_the_stock_layer_is_back_after_an_error_inside():
    stock = layers.BatchNormalization.call
    with pytest.raises(KeyError), fused_batch_norm():
        raise KeyError
    assert layers.BatchNormalization.call is stock


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="the fused kernel is for CPUs")
@pytest.mark.parametrize("name", ["mobilenetv2", "resnet50", "densenet121"])
def test_a_step_with_the_fused_kernel_moves_no_weight_further_than_rounding_does(name):
    keras.utils.set_random_seed(0)
    model = build_classifier(name, 64, 2, "average_pool", "own")
    start, random = model.get_weights(), np.random.default_rng(0)
    images, targets = random.integers(0, 256, (16, 64, 64, 3)).astype("float32"), np.eye(2)[np.arange(16) % 2]
    after = []
    for kernel, shown in ((nullcontext, images), (nullcontext, images * (1 + 1e-6)), (fused_batch_norm, images)):
        keras.utils.set_random_seed(1)  # dropout
        model.set_weights(start)
        optimizer = keras.optimizers.SGD(1e-3, global_clipnorm=1.0)
        model.compile(optimizer, "categorical_crossentropy", run_eagerly=True)
        with kernel(), _counting_kernels() as fused:
            model.train_on_batch(shown, targets)
        after.append(model.get_weights())
    assert len(fused) == sum(isinstance(layer, layers.BatchNormalization) for layer in model._flatten_layers()) > 50
    stock, rounded, quick = after
    assert _distance(quick, stock) <= max(1e-5, 2 * _distance(rounded, stock)) < 0.1 * _distance(start, stock)


def _distance(one, other):
    pairs = zip(one, other, strict=True)
    return max((np.abs(a - b) / np.maximum(np.abs(b), 1)).max() for a, b in pairs)


@contextmanager
def _counting_kernels():
    """The layers that the fused kernel normalised, while tests run without a graph."""
    seen, kernel = [], batch_norm._normalise_fused
    batch_norm._normalise_fused = lambda layer, inputs: (seen.append(layer), kernel(layer, inputs))[1]
    try:
        yield seen
    finally:
        batch_norm._normalise_fused = kernel


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_fused_kernel_stays_out_of_predicting_frozen_layers_and_mixed_precision(policy):
    images = _batches([8])[0]
    norm = layers.BatchNormalization(dtype=policy)
    model = _model(norm)
    with fused_batch_norm(), _counting_kernels() as fused:
        model(images, training=False)
        norm.trainable = False
        model(images, training=True)
        norm.trainable = True
        assert not fused
        model(images, training=True)
    assert len(fused) == (policy == "float32" and not tf.config.list_physical_devices("GPU"))
