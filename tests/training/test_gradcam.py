"""Maps of where a classifier looked, on networks of which the answer is known."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from covbench.models.classifier import HEADS, build_classifier
from covbench.training.gradcam import SIDE, choose_worst, explain_models, find_maps


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


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 3), (3, 2)])
def test_a_map_is_warm_where_the_bright_block_that_decides_lies(row: int, column: int) -> None:
    image = np.zeros((32, 32), np.uint8)
    image[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 255
    (found,) = find_maps(build_seeing(row, column), image[None], np.array([1]))
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
    (saturated,), (plain,) = (find_maps(model, image[None], np.array([1])) for model in (sure, unsure))
    assert saturated.max() > 200
    np.testing.assert_allclose(saturated.astype(int), plain.astype(int), atol=1)


def test_the_worst_cases_come_first_and_augmented_copies_are_left_out() -> None:
    cases = pd.DataFrame({"image_id": list("abcd"), "copy": [0, 0, 1, 0], "truth": [0, 1, 1, 1], "predicted": 0})
    cases = cases.assign(p_0=[0.9, 0.8, 0.99, 0.4], p_1=[0.1, 0.2, 0.01, 0.6])
    assert choose_worst(cases, 2)["image_id"].tolist() == ["b", "d"]


@pytest.mark.parametrize("head", list(HEADS))
def test_networks_of_the_catalogue_are_explained_from_their_files(tmp_path: Path, head: str) -> None:
    folder = tmp_path / "results/runs/phantom_xray/audited/small_cnn/0"
    folder.mkdir(parents=True)
    build_classifier("small_cnn", 48, 2, head, "own").save(folder / "model.keras")
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    pd.DataFrame({"image_id": ["a", "b", "c"]}).to_parquet(tmp_path / "rows.parquet")
    cases = pd.DataFrame({"image_id": ["c", "a"], "copy": 0, "truth": [1, 0], "predicted": [0, 0]})
    cases.assign(p_0=[0.7, 0.6], p_1=[0.3, 0.4]).to_parquet(folder / "cases.parquet")
    paths = [str(folder)], [str(tmp_path / "images.npy")], [str(tmp_path / "rows.parquet")]
    explain_models(*paths, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as found:
        assert found["small_cnn/image_id"].tolist() == ["c", "a"]
        assert found["small_cnn/map"].shape == (2, SIDE, SIDE)
