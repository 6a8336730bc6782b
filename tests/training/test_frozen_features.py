"""Features of a frozen backbone: kept, shared and found again by real processes, without a bit of difference."""

import random
import shutil
import time
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest

from covbench.data.folds import select_fold
from covbench.models.batch_norm import refresh_batch_norm
from covbench.models.classifier import build_classifier
from covbench.models.saved import load_network
from covbench.protocols import AUDITED, PUBLISHED, protocol_options, resolve_options
from covbench.schema import Task
from covbench.system import disk
from covbench.training import frozen_features as features
from covbench.training.fit import train_model
from covbench.training.frozen_features import (
    PLAIN,
    FeatureBatches,
    FeatureStore,
    View,
    count_feature_bytes,
    cut_classifier,
)
from tests.keras_processes import fork_with_keras
from tests.synthetic_run import draw_inputs, read_result, train_here

COUNT, SIDE = 24, 32
FEW_VIEWS = {"augmented_views": 2, "head_epochs": 4, "fine_tune_epochs": 1}
BINARY = Task("drawn", "classification", ("dark", "bright"), positive="bright")


def build_model(head="dense_512_64", classes=2, images=None):
    """Random weights, and statistics of the images themselves: without those all images look alike to it."""
    keras.utils.set_random_seed(0)
    model = build_classifier("mobilenetv2_035", SIDE, classes, head, "unit")
    refresh_batch_norm(model, [np.repeat((draw_images() if images is None else images)[..., None], 3, axis=-1)])
    return model


@pytest.fixture(scope="module")
def model():
    return build_model()


@pytest.fixture(scope="module")
def extractor(model):
    return cut_classifier(model)[0]


@pytest.fixture(scope="module")
def processes():
    return fork_with_keras()


def draw_images(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (COUNT, SIDE, SIDE), dtype=np.uint8)


def fold_of(images, copies=0):
    ids = [f"image_{number}" for number in range(len(images))]
    split = pd.DataFrame(
        {"image_id": ids, "copy": copies, "patient_id": ids, "group": ids, "source": "", "fold": "train"}
    )
    split["duplicate_set"] = ids
    split["label"] = np.arange(len(images)) % 2
    return select_fold(images, None, pd.DataFrame({"image_id": ids}), split, "train", 2)


@pytest.fixture
def fold():
    return fold_of(draw_images())


@pytest.fixture
def store(extractor, fold, tmp_path):
    return FeatureStore(extractor, fold.images, tmp_path)


def load(store, fold, rows, augmentation="rotation", view=0):
    return store.load(fold, np.array(rows), View(augmentation, view))


def has_computed(store):
    return "_extract" in vars(store)


@pytest.mark.parametrize("head", ["dense_512_64", "average_pool"])
def test_both_parts_of_a_cut_classifier_give_what_the_whole_gives_and_it_still_saves(head, tmp_path):
    whole = build_model(head)
    images = np.repeat(draw_images()[:4, ..., None], 3, axis=-1)
    expected = whole.predict_on_batch(images)
    extractor, rest = cut_classifier(whole)
    np.testing.assert_allclose(rest.predict_on_batch(extractor.predict_on_batch(images)), expected, atol=1e-6)
    whole.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict_on_batch(images), expected, atol=1e-6)


def test_kept_features_are_those_of_the_network_but_for_the_rounding_of_float16(extractor, store, fold):
    images = np.repeat(fold.images[:, ..., None], 3, axis=-1)
    expected = extractor.predict(images, verbose=0)
    np.testing.assert_allclose(load(store, fold, range(COUNT), "none"), expected, rtol=2**-10, atol=5e-4)


def test_a_feature_has_the_same_bits_whatever_is_asked_for_beside_it_and_in_whatever_order(extractor, fold, tmp_path):
    whole = load(FeatureStore(extractor, fold.images, tmp_path / "a"), fold, range(COUNT))
    other = FeatureStore(extractor, fold.images, tmp_path / "b")
    order = np.random.default_rng(1).permutation(COUNT)
    parts = [load(other, fold, rows) for rows in (order[:1], order[1:4], order[4:])]
    np.testing.assert_array_equal(np.concatenate(parts), whole[order])


def test_a_second_store_reads_what_the_first_computed(extractor, store, fold, tmp_path):
    first = load(store, fold, range(COUNT))
    second = FeatureStore(extractor, fold.images, tmp_path)
    np.testing.assert_array_equal(load(second, fold, range(COUNT)), first)
    assert has_computed(store)
    assert not has_computed(second)


def test_another_split_of_the_same_images_computes_no_feature_again(extractor, store, fold, tmp_path):
    every = np.arange(len(fold))
    first = load(store, fold, every)
    order = np.random.default_rng(1).permutation(len(fold))
    split = fold.rows.iloc[order].reset_index(drop=True)
    other = select_fold(fold.images, None, pd.DataFrame({"image_id": fold.rows["image_id"]}), split, "train", 2)
    again = FeatureStore(extractor, fold.images, tmp_path)
    np.testing.assert_array_equal(load(again, other, every), first[order])
    assert not has_computed(again)


def test_only_the_images_asked_for_are_computed(extractor, store, fold, tmp_path):
    load(store, fold, [3, 5])
    marks = np.fromfile(store.folder / "rotation_0.marks", np.uint64)
    assert np.flatnonzero(marks).tolist() == [3, 5]


def test_a_view_looks_the_same_again_and_another_one_differs(store, fold):
    assert (load(store, fold, [0], view=0) != load(store, fold, [0], view=1)).any()
    np.testing.assert_array_equal(load(store, fold, [0], view=1), load(store, fold, [0], view=1))


def test_an_image_and_its_augmented_copy_do_not_share_features(store, fold):
    original, copy = load(store, fold, [0]), load(store, fold_of(fold.images, copies=1), [0])
    assert (original != copy).any()
    np.testing.assert_array_equal(load(store, fold, [0]), original)


@pytest.mark.parametrize("suffix", ["features", "marks"])
def test_what_is_damaged_on_disk_is_computed_again(extractor, store, fold, tmp_path, suffix):
    first = load(store, fold, range(COUNT))
    with open(store.folder / f"rotation_0.{suffix}", "r+b") as file:
        file.seek(5)
        file.write(b"damaged")
    second = FeatureStore(extractor, fold.images, tmp_path)
    np.testing.assert_array_equal(load(second, fold, range(COUNT)), first)
    assert has_computed(second)


def test_features_may_be_deleted_while_they_are_in_use(store, fold):
    first = load(store, fold, range(4))
    shutil.rmtree(store.folder.parent)
    np.testing.assert_array_equal(load(store, fold, range(8))[:4], first)
    assert load(store, fold, [0], view=1).shape == first[:1].shape


def test_other_weights_and_other_images_have_features_of_their_own(extractor, store, fold, tmp_path):
    other = build_classifier("mobilenetv2_035", SIDE, 2, "dense_512_64", "unit")
    folders = {
        store.folder,
        FeatureStore(cut_classifier(other)[0], fold.images, tmp_path).folder,
        FeatureStore(extractor, draw_images(seed=1), tmp_path).folder,
    }
    assert len(folders) == 3


def test_a_model_that_is_loaded_from_its_file_reads_the_features_of_the_one_that_was_trained(model, fold, tmp_path):
    trained = FeatureStore(cut_classifier(model)[0], fold.images, tmp_path)
    model.save(tmp_path / "model.keras")
    loaded = load_network(tmp_path / "model.keras")
    assert FeatureStore(cut_classifier(loaded)[0], fold.images, tmp_path).folder == trained.folder


def test_a_view_that_a_run_draws_is_the_one_that_its_images_would_show_and_is_not_shared(store, fold):
    shown = features.Batches(fold, len(fold), 3, augmentation=features.AUGMENTATIONS["affine"])[0][0]
    drawn = store.load(fold, np.arange(len(fold)), View("affine", 0, seed=3))
    np.testing.assert_allclose(drawn, store._extractor.predict(shown, verbose=0), rtol=2**-10, atol=5e-4)
    assert (drawn != store.load(fold, np.arange(len(fold)), View("affine", 0, seed=4))).any()
    assert (drawn != store.load(fold, np.arange(len(fold)), View("affine", 0))).any()


def test_heads_that_begin_alike_share_features(model, extractor, store, fold, tmp_path):
    another_head = build_classifier("mobilenetv2_035", SIDE, 3, "dense_512_64", "unit")
    another_head.get_layer("backbone").set_weights(model.get_layer("backbone").get_weights())
    another_head.get_layer("backbone").trainable = False
    assert FeatureStore(cut_classifier(another_head)[0], fold.images, tmp_path).folder == store.folder


def test_a_nearly_full_disk_keeps_no_features_and_gives_the_same_ones(extractor, store, fold, tmp_path, monkeypatch):
    first = load(store, fold, range(4))
    monkeypatch.setattr(disk, "LEFT_BY_CACHES", 10**18)
    other = FeatureStore(extractor, fold.images, tmp_path / "full")
    np.testing.assert_array_equal(load(other, fold, range(4)), first)
    assert (other.folder / "rotation_0.features").stat().st_size == 0


def test_the_forecast_of_the_disk_is_what_is_written(model, store, fold):
    for view in range(2):
        load(store, fold, range(16), view=view)
    load(store, fold, range(16, COUNT), "none")
    written = [np.fromfile(path, np.uint64) for path in store.folder.glob("*.marks")]
    rows = sum(np.count_nonzero(marks) for marks in written)
    assert count_feature_bytes(model, train=16, val=8, views=2) == rows * store.width * store.dtype.itemsize


def test_batches_of_features_come_in_the_order_of_batches_of_images(store, fold):
    batches = FeatureBatches(store, PLAIN, fold, 8, 1, 2, shuffle=True, first=1, micro_batches=2)
    images = features.Batches(fold, 8, 1, 2, shuffle=True, first=1, micro_batches=2)
    np.testing.assert_array_equal(np.concatenate(batches.chosen), np.concatenate(images.chosen))
    x, y = batches[0]
    np.testing.assert_array_equal(x, load(store, fold, images.chosen[0], "none"))
    np.testing.assert_array_equal(y, images[0][1])


def fill(folder, counts, number, pause, together):
    """Fill a store in an order of its own, once all are ready; what it computed itself goes into counts."""
    fold = fold_of(draw_images())
    store = FeatureStore(cut_classifier(build_model())[0], fold.images, folder)
    extract = store._extract

    def slowly(images):
        counts[number] += len(images)
        time.sleep(pause)
        return extract(images)

    store._extract = slowly
    together.wait(timeout=120)
    for batch in np.array_split(np.random.default_rng(number).permutation(COUNT), 6):
        load(store, fold, batch)


def test_two_processes_share_the_work_and_no_image_is_computed_twice(processes, tmp_path, store, fold):
    expected = load(store, fold, range(COUNT))
    shared = tmp_path / "shared"
    counts = processes.Array("i", 2)
    together = processes.Barrier(2)
    workers = [processes.Process(target=fill, args=(shared, counts, number, 0.3, together)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sum(counts) == COUNT
    assert all(counts)
    (folder,) = shared.iterdir()
    assert folder.name == store.folder.name
    again = FeatureStore(store._extractor, fold.images, shared)
    np.testing.assert_array_equal(load(again, fold, range(COUNT)), expected)
    assert not has_computed(again)


def test_what_a_killed_process_was_at_is_computed_by_the_next(processes, tmp_path, store, fold):
    counts, alone = processes.Array("i", 2), processes.Barrier(1)
    killed = processes.Process(target=fill, args=(tmp_path / "shared", counts, 0, 60, alone))
    killed.start()
    until = time.monotonic() + 60
    while not counts[0]:
        assert time.monotonic() < until
        time.sleep(0.05)
    killed.kill()
    killed.join()
    survivor = processes.Process(target=fill, args=(tmp_path / "shared", counts, 1, 0, alone))
    survivor.start()
    survivor.join(timeout=60)
    assert (survivor.exitcode, counts[1]) == (0, COUNT)


def train_apart(processes, folder, **choices):
    options = {"architecture": "mobilenetv2_035", "changes": FEW_VIEWS, "save_seconds": 3600} | choices
    process = processes.Process(target=train_here, args=(str(folder),), kwargs=options)
    process.start()
    return process


@pytest.mark.slow
def test_a_training_on_features_killed_and_started_again_ends_as_if_nothing_had_happened(processes, tmp_path):
    folders = [tmp_path / "undisturbed", tmp_path / "disturbed"]
    for folder in folders:
        folder.mkdir()
        draw_inputs(folder)
    undisturbed = train_apart(processes, folders[0])
    chance = random.Random(0)
    for _ in range(2):
        process = train_apart(processes, folders[1], save_seconds=0)
        until = time.monotonic() + 300
        states = set()
        while process.is_alive() and len(states) < 4 and time.monotonic() < until:
            states |= set(folders[1].glob("checkpoints/*/*/*/*/*/state-*"))
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.join()
    final = train_apart(processes, folders[1])
    for process in (undisturbed, final):
        process.join(timeout=600)
        assert process.exitcode == 0, [(folder / "results.log").read_text() for folder in folders]
    results = [read_result(folder / "results") for folder in folders]
    assert results[0] == results[1]
    assert len(list((folders[0] / "checkpoints" / "features").glob("*/mild_*.features"))) == 2
    assert "resumes in epoch" in (folders[1] / "results.log").read_text()


def test_a_head_on_features_learns_and_leaves_the_backbone_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = draw_images() // 4
    images[1::2] += 120
    options = replace(protocol_options(PUBLISHED, BINARY), size=SIDE, batch_size=8, head_epochs=12, head_rate=1e-3)
    options = replace(options, patience=0, augmentation="none")
    model = build_model(images=images)
    before = model.get_layer("backbone").get_weights()
    seen = fold_of(images)
    progress = train_model(model, seen, seen, options, 0, lambda curves: None)
    for old, new in zip(before, model.get_layer("backbone").get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    losses = [row["val_loss"] for row in progress.history]
    whole = model.predict(np.repeat(images[..., None], 3, axis=-1), verbose=0)
    assert min(losses) < losses[0]
    assert (whole.argmax(axis=1) == seen.labels).mean() >= 0.9


def test_published_classification_has_eight_views_and_audited_a_new_one_in_every_epoch():
    assert protocol_options(PUBLISHED, BINARY).augmented_views == 8
    assert protocol_options(AUDITED, BINARY).augmented_views == "every_epoch"
    literal = resolve_options(PUBLISHED, BINARY, {PUBLISHED: {"classification": {"augmented_views": "every_epoch"}}})
    assert literal == replace(protocol_options(PUBLISHED, BINARY), augmented_views="every_epoch")
