"""Maps of where a classifier looked, on networks of which the answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from covbench.data.datasets import TASKS
from covbench.models.batch_norm import refresh_batch_norm
from covbench.models.classifier import HEADS, build_classifier
from covbench.models.saved import load_network
from covbench.protocols import PUBLISHED, protocol_options
from covbench.training import frozen_features
from covbench.training.classifier_parts import cut_at_features
from covbench.training.gradcam import (
    SIDE,
    ExplainedModel,
    choose_worst,
    compute_maps,
    explain_models,
    find_maps,
    stretch_maps,
)


def build_seeing(row: int, column: int, gain: float = 0.01) -> keras.Model:
    """A classifier whose features are the image's blocks, and whose class 1 grows with brightness in one of them."""
    images = keras.Input((32, 32, 3), name="images")
    inner = keras.Input((32, 32, 3))
    network = keras.Model(inner, keras.layers.AveragePooling2D(8)(inner), name="network")
    dense, end = keras.layers.Dense(2, name="logits"), keras.layers.Activation("softmax", name="probabilities")
    head = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), dense, end], name="head")
    kernel = np.zeros((4, 4, 3, 2))
    kernel[row, column, :, 1] = gain
    dense.set_weights([kernel.reshape(48, 2), np.zeros(2)])
    return keras.Model(images, head(network(keras.layers.Identity(name="scaling")(images))))


def explain(model: keras.Model, image: np.ndarray) -> np.ndarray:
    return find_maps(model, compute_maps(model, image[None]), np.array([1]))


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 3), (3, 2)])
def test_a_map_is_warm_where_the_bright_block_that_decides_lies(row: int, column: int) -> None:
    image = np.zeros((32, 32), np.uint8)
    image[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 255
    (found,) = explain(build_seeing(row, column), image)
    assert found.shape == (SIDE, SIDE)
    warmest = np.unravel_index(found.argmax(), found.shape)
    assert (warmest[0] * 4 // SIDE, warmest[1] * 4 // SIDE) == (row, column)


def test_an_answer_whose_probability_rounds_to_one_has_the_map_of_a_less_sure_one() -> None:
    image = np.zeros((32, 32), np.uint8)
    image[8:16, 16:24] = 255
    image[24:, :8] = 90
    shown = np.repeat(image[None, ..., None], 3, axis=3)
    sure, unsure = build_seeing(1, 2, gain=1.0), build_seeing(1, 2, gain=0.001)
    assert sure.predict(shown, verbose=0)[0, 1] == 1
    assert unsure.predict(shown, verbose=0)[0, 1] < 0.7
    (saturated,), (plain,) = (explain(model, image) for model in (sure, unsure))
    assert saturated.max() > 200
    np.testing.assert_allclose(saturated.astype(int), plain.astype(int), atol=1)


def test_the_worst_cases_come_first_and_augmented_copies_are_left_out() -> None:
    cases = pd.DataFrame({"image_id": list("abcd"), "copy": [0, 0, 1, 0], "truth": [0, 1, 1, 1], "predicted": 0})
    cases = cases.assign(p_0=[0.9, 0.8, 0.99, 0.4], p_1=[0.1, 0.2, 0.01, 0.6])
    assert choose_worst(cases, 2)["image_id"].tolist() == ["b", "d"]


def draw_run(root: Path, architecture: str, head: str, count: int = 3) -> ExplainedModel:
    """A saved classifier of images of 48 pixels, with a pretrained part that was never trained, and its cases."""
    folder = root / f"results/runs/phantom_xray/published/{architecture}/0"
    folder.mkdir(parents=True)
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (count, 48, 48), dtype=np.uint8)
    model = build_classifier(architecture, 48, 2, head, "own")
    refresh_batch_norm(model, [np.repeat(images[..., None], 3, axis=-1)])
    model.save(folder / "model.keras")
    np.save(root / "images.npy", images)
    ids = [f"image_{number}" for number in range(count)]
    pd.DataFrame({"image_id": ids}).to_parquet(root / "rows.parquet")
    shares = np.linspace(0.3, 0.4, count - 1)
    cases = pd.DataFrame({"image_id": ids[:0:-1], "copy": 0, "truth": 1, "predicted": 0})
    cases.assign(p_0=1 - shares, p_1=shares).to_parquet(folder / "cases.parquet")
    options = replace(protocol_options(PUBLISHED, TASKS["phantom_xray"]), size=48, head=head)
    return ExplainedModel(folder, str(root / "images.npy"), str(root / "rows.parquet"), options)


@pytest.mark.parametrize("head", list(HEADS))
def test_networks_of_the_catalogue_are_explained_from_their_files(tmp_path: Path, head: str) -> None:
    explain_models([draw_run(tmp_path, "small_cnn", head)], tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        assert found["small_cnn/image_id"].tolist() == ["image_2", "image_1"]
        assert found["small_cnn/map"].shape == (2, SIDE, SIDE)


def find_maps_one_by_one(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Grad-CAM of one image after the other, from the network itself."""
    before, to_logits = cut_at_features(model)
    maps = []
    for image, number in zip(images, classes, strict=True):
        seen = tf.constant(before(np.repeat(image[None, ..., None], 3, axis=3).astype(np.float32)))
        with tf.GradientTape() as tape:
            tape.watch(seen)
            score = to_logits(seen, training=False)[:, number]
        weights = tf.reduce_mean(tape.gradient(score, seen), axis=(1, 2), keepdims=True)
        maps.append(stretch_maps(tf.nn.relu(tf.reduce_sum(weights * seen, axis=-1)).numpy())[0])
    return np.stack(maps)


@pytest.mark.parametrize("head", ["dense_512_64", "average_pool"])
def test_maps_of_a_frozen_backbone_are_those_of_the_network_and_read_kept_features_where_these_are_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str
) -> None:
    monkeypatch.chdir(tmp_path)
    explained = draw_run(tmp_path, "mobilenetv2_035", head, count=10)
    explain_models([explained], tmp_path / "out.npz")
    model, images = load_network(explained.folder / "model.keras"), np.load(tmp_path / "images.npy")
    expected = find_maps_one_by_one(model, images[:0:-1], np.zeros(9, int))
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_allclose(found["mobilenetv2_035/map"].astype(int), expected.astype(int), atol=1)
    kept = list(tmp_path.glob("checkpoints/features/*/none_0.features"))
    assert len(kept) == (head == "dense_512_64")
    monkeypatch.setattr(frozen_features, "prepare_extraction", None)  # nothing is computed a second time
    explain_models([explained], tmp_path / "again.npz")
    with np.load(tmp_path / "out.npz") as first, np.load(tmp_path / "again.npz") as second:
        np.testing.assert_array_equal(first["mobilenetv2_035/map"], second["mobilenetv2_035/map"])
