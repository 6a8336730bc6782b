"""Features of baselines: the bits of their function, computed once per image."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covbench.data.folds import select_fold
from covbench.models import baselines
from covbench.models.baselines import FEATURES
from covbench.schema import Run
from covbench.training import baseline_features
from covbench.training.baseline_features import load_features
from covbench.training.baseline_job import fit_baseline_run

COUNT, SIDE = 20, 48
IDS = [f"image_{number}" for number in range(COUNT)]


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE), dtype=np.uint8)


@pytest.fixture
def described(monkeypatch):
    """How many images are described, a number for each call after those that ask for the width."""
    counts = []

    def counting(describe):
        def describe_counting(images):
            counts.append(len(images) if images.any() else 0)
            return describe(images)

        return describe_counting

    monkeypatch.setattr(baseline_features, "FEATURES", {name: counting(value) for name, value in FEATURES.items()})
    monkeypatch.setattr(baseline_features, "CHUNK", 8)
    return counts


def fold_of(images, numbers=range(COUNT), copy=0):
    rows = pd.DataFrame({"image_id": [IDS[number] for number in numbers], "copy": copy, "fold": "train", "label": 0})
    return select_fold(images, None, pd.DataFrame({"image_id": IDS}), rows, "train", 2)


@pytest.mark.parametrize("name", list(FEATURES))
def test_kept_features_have_the_bits_of_their_function_and_each_image_is_described_once(
    name, images, described, tmp_path
):
    expected = FEATURES[name](images)
    np.testing.assert_array_equal(load_features(name, fold_of(images, range(12)), tmp_path), expected[:12])
    assert sum(described) == 12
    order = np.random.default_rng(1).permutation(COUNT)
    np.testing.assert_array_equal(load_features(name, fold_of(images, order), tmp_path), expected[order])
    assert sum(described) == COUNT


def test_a_damaged_row_is_described_again(images, described, tmp_path):
    first = load_features("hog_logistic", fold_of(images), tmp_path)
    (file,) = tmp_path.glob("*/hog_logistic.features")
    with open(file, "r+b") as features:
        features.seek(2 * 1764 * 4 + 9)
        features.write(b"damaged")
    np.testing.assert_array_equal(load_features("hog_logistic", fold_of(images), tmp_path), first)
    assert sum(described) == COUNT + 1


def test_an_augmented_copy_and_another_array_have_features_of_their_own(images, described, tmp_path):
    original = load_features("hog_logistic", fold_of(images), tmp_path)
    copies = fold_of(images, copy=1)
    np.testing.assert_array_equal(
        load_features("hog_logistic", copies, tmp_path), FEATURES["hog_logistic"](copies.load_images())
    )
    assert sum(described) == 2 * COUNT
    other = replace(fold_of(images), images=images[::-1].copy())
    np.testing.assert_array_equal(load_features("hog_logistic", other, tmp_path), original[::-1])
    assert len(list(tmp_path.iterdir())) == 2


def test_another_seed_of_a_baseline_describes_no_image_and_predicts_from_the_same_features(
    images, described, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    labels = np.arange(COUNT) % 2
    np.save("images.npy", images // 2 + 100 * labels[:, None, None].astype(np.uint8))
    pd.DataFrame({"image_id": IDS}).to_parquet("rows.parquet")
    predicted = {}
    for seed in (0, 1):
        folds = np.random.default_rng(seed).permutation(np.resize(["train", "train", "val", "test"], COUNT))
        split = pd.DataFrame({"image_id": IDS, "copy": 0, "label": labels, "fold": folds})
        split = split.assign(patient_id=IDS, group=IDS, duplicate_set=IDS, source="")
        split.to_parquet("split.parquet")
        run = Run("phantom_xray", "audited", "hog_logistic", seed)
        outputs = {"manifest": f"{seed}.json", "predictions": f"{seed}.parquet"}
        fit_baseline_run(run, "split.parquet", ["images.npy", "rows.parquet"], outputs)
        predicted[seed] = pd.read_parquet(f"{seed}.parquet")
        assert json.loads(Path(f"{seed}.json").read_text())["energy_kwh"] > 0
        assert sum(described) == COUNT
        features = baselines.describe_gradients(np.load("images.npy"))
        train, test = (np.flatnonzero(folds == name) for name in ("train", "test"))
        fitted = baselines.fit_baseline("hog_logistic", features[train], labels[train], ("a", "b"), seed)
        mine = predicted[seed].query("fold == 'test'")[["p_0", "p_1"]].to_numpy()
        np.testing.assert_array_equal(mine, baselines.predict_baseline(fitted, features[test]))
    assert set(predicted[0]["image_id"]) != set(predicted[1]["image_id"])
