"""Shortcut controls on drawn X-rays: they flag a network that reads a marker in the corner, and no other."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from covbench.data.folds import select_fold, tabulate_predictions
from covbench.data.masks import pack_masks
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.controls import NO, YES, compare_predictions
from covbench.models.classifier import build_classifier
from covbench.models.xray_lungs import find_xray_lungs
from covbench.protocols import AUDITED, protocol_options
from covbench.schema import CLASSIFICATION, Task
from covbench.training import predict_controls
from covbench.training.batches import Batches
from covbench.training.predict import predict_classes
from covbench.training.predict_controls import measure_grey, predict_control

TASK = Task("drawn", CLASSIFICATION, ("healthy", "sick"), positive="sick")
TRIED = ("lungs_out", "border_only")
SIDE, IMAGES, EPOCHS = 32, 260, 6
OPTIONS = replace(protocol_options(AUDITED, TASK), size=SIDE, batch_size=20, augmentation="none")


def draw_xray(rng, sick, marked):
    """A grey chest with two dark lungs; opacities in them where sick, and a bright square in the corner if marked."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    down, right, wide = rng.normal(0, 0.04), rng.normal(0, 0.04), rng.normal(1, 0.05)
    lungs = np.zeros((SIDE, SIDE), bool)
    for side in (-1, 1):
        lungs |= ((x - right - 0.42 * side) / (0.3 * wide)) ** 2 + ((y - down) / 0.66) ** 2 < 1
    picture = np.where(lungs, 70.0, 150.0) - 90 * (np.abs(x) > 0.92)
    if sick:
        for row, column in rng.permutation(np.argwhere(ndimage.binary_erosion(lungs, iterations=2)))[:2]:
            picture += 45 * np.exp(-((np.arange(SIDE)[:, None] - row) ** 2 + (np.arange(SIDE) - column) ** 2) / 8)
    if marked:
        picture[1:5, 1:5] = 250
    return (ndimage.gaussian_filter(picture, 0.7) + rng.normal(0, 10, lungs.shape)).clip(0, 255).astype(np.uint8)


def draw_folds(seed, planted):
    """Training and test fold, and packed lungs. planted: whether the marker says what the label is."""
    rng = np.random.default_rng(seed)
    labels = np.arange(IMAGES) % 2
    marked = labels == 1 if planted else rng.permutation(IMAGES) % 2 == 1
    images = np.stack([draw_xray(rng, *facts) for facts in zip(labels == 1, marked, strict=True)])
    ids = [f"image_{number}" for number in range(IMAGES)]
    split = pd.DataFrame({"image_id": ids, "patient_id": ids, "group": ids, "duplicate_set": ids, "label": labels})
    split = split.assign(copy=0, source="", fold=np.repeat(["train", "test"], [160, 100]))
    rows = pd.DataFrame({"image_id": ids})
    folds = [select_fold(images, None, rows, split, fold, 2) for fold in ("train", "test")]
    lungs = np.zeros(images.shape, bool)
    for position in folds[1].positions:
        lungs[position] = find_xray_lungs(images[position])
    return folds, pack_masks(lungs)


@pytest.fixture(scope="module")
def network():
    """A small network whose graphs are traced once for all trainings. Its batch norm follows few steps."""
    model = build()
    for layer in model.get_layer("network").layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8
    model.compile(keras.optimizers.Adam(3e-3), "categorical_crossentropy")
    return model


def build():
    return build_classifier("small_cnn", SIDE, 2, OPTIONS.head, OPTIONS.scaling, None)


def train_again(model, fold, seed):
    """Train a network from new random weights."""
    keras.utils.set_random_seed(seed)
    model.set_weights(build().get_weights())
    for variable in model.optimizer.variables:
        if variable.path.rpartition("/")[2] != "learning_rate":
            variable.assign(keras.ops.zeros_like(variable))
    images, labels = Batches(fold, len(fold), seed)[0]
    model.fit(images, labels, batch_size=OPTIONS.batch_size, epochs=EPOCHS, verbose=0)


def run_controls(model, seed, planted):
    """The rows of the table `controls` of a network that was trained on drawn X-rays."""
    (train, test), lungs = draw_folds(seed, planted)
    train_again(model, train, seed)
    probabilities = model.predict_on_batch(Batches(test, len(test), seed)[0][0])
    _, cases = evaluate_classification(tabulate_predictions(test, "test", seed, probabilities), TASK)
    grey = measure_grey(test)
    found = [predict_control(model, test, lungs, (control, grey), OPTIONS, seed) for control in TRIED]
    predictions = pd.concat([part for parts in found for part in parts], ignore_index=True)
    return {row["control"]: row for row in compare_predictions({seed: cases}, predictions, TASK)}


def test_images_that_are_not_altered_have_the_predictions_of_the_test_fold(monkeypatch):
    monkeypatch.setattr(predict_controls, "alter_images", lambda images, lungs, control, grey: images)
    (_, test), lungs = draw_folds(0, planted=False)
    model, options = build(), replace(OPTIONS, augmentation="affine", augment_test=True)
    expected, _ = predict_classes(model, test, options, seed=3)
    (table,) = predict_controls.predict_control(model, test, lungs, ("border_only", 0), options, seed=3)
    np.testing.assert_allclose(table[["p_0", "p_1"]], expected, atol=1e-6)
    assert table["image_id"].tolist() == test.rows["image_id"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(2, 10))])
def test_a_planted_marker_raises_the_flag_and_without_it_none_is_raised(network, seed):
    planted, clean = run_controls(network, seed, planted=True), run_controls(network, seed, planted=False)
    assert (planted["lungs_out"]["flag"], clean["lungs_out"]["flag"]) == (YES, NO)
    assert clean["lungs_out"]["full"] > 0.8  # it has learned something that could have been lost
    assert planted["border_only"]["altered"] > 0.9
    assert planted["lungs_out"]["images"] == 100
