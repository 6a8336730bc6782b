"""Training on tiny drawn pictures with the real networks of the catalogue."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest

from covbench.data.folds import select_fold
from covbench.models.classifier import build_classifier
from covbench.models.segmenter import build_segmenter
from covbench.protocols import AUDITED, protocol_options
from covbench.schema import HISTORY_COLUMNS, CovbenchError, Task
from covbench.training.fit import seed_everything, train_model, weigh_classes
from covbench.training.predict import predict_masks, predict_probabilities
from covbench.training.state import restore_optimizer

BINARY = Task("drawn", "classification", ("dark", "bright"), positive="bright")
OPTIONS = replace(
    protocol_options(AUDITED, BINARY),
    size=32,
    batch_size=8,
    head_epochs=0,
    fine_tune_epochs=3,
    fine_tune_rate=3e-3,
    augmentation="none",
)


def drawn_folds(count=40, masks=False):
    """Pictures with a bright square (class 1) or none (class 0), half train, quarter val, quarter test."""
    rng = np.random.default_rng(0)
    images = rng.integers(20, 60, (count, 32, 32), dtype=np.uint8)
    labels = np.arange(count) % 2
    truth = np.zeros_like(images)
    for number in np.flatnonzero(labels):
        top, left = rng.integers(0, 16, 2)
        truth[number, top : top + 14, left : left + 14] = 1
    images[truth == 1] += 120
    ids = [f"image_{number}" for number in range(count)]
    split = pd.DataFrame({"image_id": ids, "copy": 0, "patient_id": ids, "group": ids, "source": "", "label": labels})
    split["duplicate_set"] = ids
    split["fold"] = np.resize(["train", "train", "train", "train", "val", "val", "test", "test"], count)
    rows = pd.DataFrame({"image_id": ids})
    folds = ("train", "val", "test")
    return [select_fold(images, truth if masks else None, rows, split, fold, 2) for fold in folds]


def train(seed=0, options=OPTIONS, after_epoch=lambda curves: None):
    seed_everything(seed, deterministic=True)
    model = build_classifier("small_cnn", 32, 2, options.head, options.scaling, None)
    folds = drawn_folds()
    return model, train_model(model, folds[0], folds[1], options, seed, after_epoch), folds


@pytest.fixture(scope="module")
def trained():
    """What `train` gives, and how many rows its curves had after each epoch."""
    seen = []
    return *train(after_epoch=lambda curves: seen.append(len(curves))), seen


def test_a_small_network_learns_to_see_a_bright_square(trained):
    model, _, folds, _ = trained
    probabilities = predict_probabilities(model, folds[2], OPTIONS, seed=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert (probabilities.argmax(axis=1) == folds[2].labels).mean() >= 0.9


def test_the_curves_have_a_row_per_epoch_and_grow_while_training(trained):
    _, progress, _, seen = trained
    assert seen == [1, 2, 3]
    assert list(progress.table().columns) == list(HISTORY_COLUMNS)


def test_the_model_is_left_with_the_weights_of_its_best_epoch(trained):
    model, progress, folds, _ = trained
    model_loss = model.evaluate(_batches(folds[1]), verbose=0, return_dict=True)["loss"]
    assert model_loss == pytest.approx(progress.table()["val_loss"].min(), rel=1e-5)


def _batches(fold):
    from covbench.training.batches import Batches

    return Batches(fold, OPTIONS.batch_size, seed=0)


def test_training_stops_early_when_validation_gets_no_better():
    options = replace(OPTIONS, fine_tune_epochs=20, fine_tune_rate=1e-12, decay=1.0, patience=2)
    _, progress, _ = train(options=options)
    assert len(progress.history) < 20


def test_a_loss_that_is_no_number_is_an_error_that_names_epoch_and_rate():
    with pytest.raises(
        CovbenchError,
        match=r"epoch \d+, batch \d+ of 3: the training loss is (nan|inf) at rate .* on image_\d+, .*fine_tune_rate",
    ):
        train(options=replace(OPTIONS, fine_tune_rate=1e30, decay=1.0))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (train(seed, options=replace(OPTIONS, fine_tune_epochs=1))[0] for seed in (1, 1, 2))
    for a, b in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(first.get_weights(), other.get_weights(), strict=True))


def test_a_frozen_head_phase_leaves_the_backbone_as_it_was():
    options = replace(OPTIONS, head_epochs=1, fine_tune_epochs=0)
    folds = drawn_folds()
    model = build_classifier("mobilenetv2_035", 32, 2, options.head, options.scaling, None)
    before = [weight.copy() for weight in model.get_layer("backbone").get_weights()]
    train_model(model, folds[0], folds[1], options, 0, lambda curves: None)
    for old, new in zip(before, model.get_layer("backbone").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_batches_in_two_halves_take_as_many_steps_of_the_optimizer():
    folds = drawn_folds(44)  # 24 training images in batches of 5: the last is one of 4
    model = build_classifier("small_cnn", 32, 2, OPTIONS.head, OPTIONS.scaling, None)
    options = replace(OPTIONS, batch_size=5, fine_tune_epochs=1)
    train_model(model, folds[0], folds[1], options, 0, lambda curves: None, micro_batches=2)
    assert int(model.optimizer.iterations) == -(-len(folds[0]) // 5)


def test_an_optimizer_that_accumulates_takes_over_from_one_that_did_not():
    weights = [keras.Variable(np.ones(3, np.float32))]
    plain, accumulating = keras.optimizers.Adam(0.1), keras.optimizers.Adam(0.1, gradient_accumulation_steps=2)
    gradient = keras.ops.convert_to_tensor([1.0, 2.0, 3.0])
    plain.build(weights)
    for _ in range(3):
        plain.apply([gradient])
    saved = [keras.ops.convert_to_numpy(variable) for variable in plain.variables]
    there = weights[0].numpy()
    plain.apply([gradient])
    expected = weights[0].numpy()
    weights[0].assign(there)
    accumulating.build(weights)
    restore_optimizer(accumulating, saved, micro_steps=2)
    for _ in range(2):
        accumulating.apply([gradient])
    np.testing.assert_array_equal(weights[0].numpy(), expected)


def test_class_weights_are_inverse_frequencies():
    train_fold = drawn_folds()[0]
    object.__setattr__(train_fold, "rows", train_fold.rows.assign(label=[0] * 15 + [1] * 5))
    assert weigh_classes(train_fold) == pytest.approx([20 / 15 / 2, 20 / 5 / 2])


def test_a_small_unet_finds_the_square():
    options = replace(OPTIONS, loss="crossentropy_dice", head="softmax_map", fine_tune_epochs=8)
    seed_everything(0, deterministic=True)
    model = build_segmenter("unet_small", 32, 2, options.scaling, None)
    folds = drawn_folds(masks=True)
    train_model(model, folds[0], folds[1], options, 0, lambda curves: None)
    predicted, truth = predict_masks(model, folds[2], options, 0), folds[2].load_masks()
    assert predicted.shape == truth.shape
    assert 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()) >= 0.8
