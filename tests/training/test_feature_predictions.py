"""Predictions from kept features: those of the whole network, and no feature computed twice."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest

from covbench.audit.unseen import ExternalSet
from covbench.data.datasets import TASKS
from covbench.data.folds import select_fold
from covbench.experiment.provenance import decide_inputs, describe_run
from covbench.models.batch_norm import refresh_batch_norm
from covbench.models.classifier import build_classifier
from covbench.models.saved import load_network
from covbench.protocols import AUDITED, PUBLISHED, PUBLISHED_AUDITED_SPLIT, protocol_options
from covbench.schema import Run
from covbench.system.files import write_json, write_table
from covbench.training import frozen_features
from covbench.training.batches import Batches
from covbench.training.predict import AUGMENTATIONS, predict_classes
from covbench.training.predict_external import ExternalJob, predict_external

COUNT, SIDE = 10, 32
TASK, EXTERNAL, NETWORK = TASKS["radiography"], TASKS["ieee8023_xray"], "mobilenetv2_035"
FROZEN = replace(protocol_options(PUBLISHED, TASK), size=SIDE, batch_size=4, augment_test=False)
FINE_TUNED = replace(protocol_options(AUDITED, TASK), size=SIDE, batch_size=4)
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE), dtype=np.uint8)


@pytest.fixture(autouse=True)
def in_a_new_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def computed(monkeypatch):
    """How many features are computed, a number for each call."""
    counts = []
    prepare = frozen_features.prepare_extraction

    def prepare_counting(*arguments):
        extract = prepare(*arguments)

        def extract_counting(images):
            counts.append(len(images))
            return extract(images)

        return extract_counting

    monkeypatch.setattr(frozen_features, "prepare_extraction", prepare_counting)
    return counts


@pytest.fixture(scope="module")
def backbone():
    """Random weights with statistics of the images themselves: without those all images look alike to it."""
    keras.utils.set_random_seed(0)
    model = build_classifier(NETWORK, SIDE, 3, "average_pool", "unit")
    refresh_batch_norm(model, [np.repeat(IMAGES[..., None], 3, axis=-1)])
    return model.get_layer("backbone").get_weights()


def build(backbone, head="pooled_logits", seed=0):
    keras.utils.set_random_seed(seed)
    model = build_classifier(NETWORK, SIDE, 3, head, "unit")
    model.get_layer("backbone").set_weights(backbone)
    return model


def fold_of(numbers=range(COUNT)):
    ids = [f"x{number}" for number in range(COUNT)]
    rows = pd.DataFrame({"image_id": [ids[number] for number in numbers], "copy": 0, "fold": "test", "label": 0})
    return select_fold(IMAGES, None, pd.DataFrame({"image_id": ids}), rows, "test", 3)


def predict_whole(model, options, seed=0):
    shown = AUGMENTATIONS[options.augmentation if options.augment_test else "none"]
    raw = model.predict(Batches(fold_of(), COUNT, seed, augmentation=shown), verbose=0)
    return raw / raw.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("augment_test", [False, True])
@pytest.mark.parametrize(("head", "tolerance"), [("dense_512_64", 2e-3), ("pooled_logits", 1e-4)])
def test_a_head_on_kept_features_predicts_what_the_whole_network_predicts(
    backbone, computed, head, tolerance, augment_test
):
    model, options = build(backbone, head), replace(FROZEN, head=head, augment_test=augment_test)
    first, logits = predict_classes(model, fold_of(), options, 5)
    expected = predict_whole(model, options, 5)
    np.testing.assert_allclose(first, expected, atol=tolerance)
    assert np.ptp(expected, axis=0).max() > 20 * tolerance  # the images do not look alike to it
    if head == "pooled_logits":
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(shares, first, atol=1e-6)
    again, _ = predict_classes(model, fold_of(), options, 5)
    np.testing.assert_array_equal(again, first)
    assert sum(computed) == COUNT


def test_where_test_images_are_augmented_each_seed_sees_its_own(backbone, computed):
    model, options = build(backbone), replace(FROZEN, augment_test=True)
    predicted = [predict_classes(model, fold_of(), options, seed)[0] for seed in (0, 1)]
    for seed in (0, 1):
        np.testing.assert_allclose(predicted[seed], predict_whole(model, options, seed), atol=1e-4)
    assert (predicted[0] != predicted[1]).any()
    assert sum(computed) == 2 * COUNT


def test_other_seeds_heads_and_protocols_compute_only_what_is_new(backbone, computed):
    predict_classes(build(backbone, seed=0), fold_of(range(6)), FROZEN, 0)
    assert sum(computed) == 6
    predict_classes(build(backbone, "average_pool", seed=1), fold_of(range(3, COUNT)), FROZEN, 1)
    assert sum(computed) == COUNT
    predict_classes(build(backbone, seed=2), fold_of(), FROZEN, 2)
    assert sum(computed) == COUNT


def test_a_damaged_row_is_computed_again_and_the_prediction_is_the_same(backbone, computed, tmp_path):
    model = build(backbone)
    first, _ = predict_classes(model, fold_of(), FROZEN, 0)
    (file,) = tmp_path.glob("checkpoints/features/*/none_0.features")
    with open(file, "r+b") as features:
        features.seek(3 * 1280 * 4 + 7)
        features.write(b"damaged")
    again, _ = predict_classes(model, fold_of(), FROZEN, 0)
    np.testing.assert_array_equal(again, first)
    assert computed[-1] == 1
    assert sum(computed) == COUNT + 1


def test_a_backbone_that_was_fine_tuned_keeps_no_features(backbone, computed, tmp_path):
    model = build(backbone, "average_pool")
    found, _ = predict_classes(model, fold_of(), FINE_TUNED, 0)
    np.testing.assert_allclose(found, predict_whole(model, FINE_TUNED), atol=1e-6)
    assert not computed
    assert not (tmp_path / "checkpoints").exists()


def test_external_tests_of_all_seeds_and_protocols_compute_each_image_once(backbone, computed, tmp_path):
    index = pd.DataFrame({"image_id": [f"x{number}" for number in range(COUNT)], "patient_id": "", "mask": ""})
    index = index.assign(patient_id=index["image_id"], label=["covid", "non_covid"] * 5, source="", excluded=False)
    np.save("images.npy", IMAGES)
    write_table("rows.parquet", index[["image_id"]])
    write_table("index.parquet", index)
    write_table("duplicates.parquet", pd.DataFrame({"image_id": ["y"], "other_id": ["z"]}))
    for protocol in (PUBLISHED, PUBLISHED_AUDITED_SPLIT):
        runs = [Run(TASK.name, protocol, NETWORK, seed) for seed in (0, 1, 2)]
        models = [f"{protocol}/{run.seed}/model.keras" for run in runs]
        for run, path in zip(runs, models, strict=True):
            manifest = tmp_path / path.replace("model.keras", "manifest.json")
            write_json(manifest, describe_run(decide_inputs(run, {"size": SIDE}, {})))
            build(backbone, seed=10 * len(protocol) + run.seed).save(path)
        tables = ["index.parquet", "duplicates.parquet", "duplicates.parquet"]
        job = ExternalJob(runs, models, FROZEN, ExternalSet(EXTERNAL.name, *tables, ["images.npy", "rows.parquet"]), 1)
        predict_external(job, {"predictions": f"{protocol}.parquet", "manifest": f"{protocol}.json"})
        table = pd.read_parquet(f"{protocol}.parquet")
        for run, path in zip(runs, models, strict=True):
            mine = table[table["seed"] == run.seed][["p_0", "p_1", "p_2"]].to_numpy()
            np.testing.assert_allclose(mine, predict_whole(load_network(path), FROZEN), atol=1e-4)
    assert sum(computed) == COUNT
