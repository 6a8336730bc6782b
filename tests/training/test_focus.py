"""Where classifiers look, on maps of which the answer is known and on networks that were trained on drawn chests."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from covbench.data.folds import select_fold
from covbench.data.masks import pack_masks
from covbench.evaluation.comparison.focus import score_focus
from covbench.models.classifier import build_classifier
from covbench.protocols import AUDITED, protocol_options
from covbench.schema import CLASSIFICATION, Task
from covbench.training.batches import Batches
from covbench.training.focus import choose_shown, measure_fold, measure_map
from covbench.training.gradcam import SIDE

TASK = Task("drawn", CLASSIFICATION, ("healthy", "sick"), positive="sick")
SIZE, IMAGES, TRAINED, EPOCHS = 96, 240, 180, 8
OPTIONS = replace(protocol_options(AUDITED, TASK), size=SIZE, batch_size=20, augmentation="none")


def draw_chest(rng, sick):
    """A grey chest with dark lungs, ribs and electrodes, and the mask of a bright patch in a lung if sick."""
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    down, right = rng.normal(0, 0.04, 2)
    lungs = np.zeros((SIZE, SIZE), bool)
    for side in (-1, 1):
        lungs |= ((x - right - 0.42 * side) / 0.3) ** 2 + ((y - down) / 0.66) ** 2 < 1
    picture, lesion = np.where(lungs, 70.0, 150.0), np.zeros_like(lungs)
    picture += 40 * (np.sin(16 * (y - down) + 3 * np.abs(x)) > 0.6)
    for row, column in rng.integers(0, SIZE, (4, 2)):
        picture[find_disc(row, column, 5)] = 235
    if sick:
        row, column = rng.permutation(np.argwhere(ndimage.binary_erosion(lungs, iterations=8)))[0]
        lesion = find_disc(row, column, 12)
        picture = picture + 60 * lesion
    return (ndimage.gaussian_filter(picture, 1) + rng.normal(0, 8, lungs.shape)).clip(0, 255).astype(np.uint8), lesion


def find_disc(row, column, radius):
    return np.hypot(np.arange(SIZE)[:, None] - row, np.arange(SIZE) - column) < radius


def draw_folds(seed, shuffled):
    """Training and test fold, and the packed masks of lesions. shuffled: whether training labels are drawn anew."""
    rng, labels = np.random.default_rng(seed), np.arange(IMAGES) % 2
    drawn = [draw_chest(rng, label == 1) for label in labels]
    masks = {row: pack_masks(lesion) for row, (_, lesion) in enumerate(drawn) if lesion.any()}
    told = np.concatenate([rng.permutation(labels[:TRAINED]), labels[TRAINED:]]) if shuffled else labels
    ids = [f"image_{seed}_{number}" for number in range(IMAGES)]
    split = pd.DataFrame({"image_id": ids, "patient_id": ids, "group": ids, "duplicate_set": ids, "label": told})
    split = split.assign(copy=0, source="", fold=np.repeat(["train", "test"], [TRAINED, IMAGES - TRAINED]))
    images, rows = np.stack([image for image, _ in drawn]), pd.DataFrame({"image_id": ids})
    return [select_fold(images, None, rows, split, fold, 2) for fold in ("train", "test")], {"lesions": masks}


def train(fold, seed):
    """A small network that has seen the fold EPOCHS times. Its batch norm follows few steps."""
    keras.utils.set_random_seed(seed)
    model = build_classifier("small_cnn", SIZE, 2, OPTIONS.head, OPTIONS.scaling, None)
    for layer in model.get_layer("network").layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8
    model.compile(keras.optimizers.Adam(3e-3), "categorical_crossentropy")
    model.fit(*Batches(fold, len(fold), seed)[0], batch_size=OPTIONS.batch_size, epochs=EPOCHS, verbose=0)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [(0,), pytest.param((0, 1, 2, 3, 4), marks=pytest.mark.exhaustive)])
def test_maps_of_trained_networks_hit_the_lesion_and_those_of_shuffled_labels_do_so_by_chance(seeds):
    trained, shuffled = (score_focus(look(seeds, shuffled), "lesions") for shuffled in (False, True))
    assert trained["hits"] >= 0.8
    assert trained["gain_low"] > 0
    assert trained["energy"] > 2 * trained["area"]
    assert shuffled["gain_low"] < 0 or shuffled["gain"] < 0


def look(seeds, shuffled):
    """Where a network of each seed looks. After shuffled labels no answer is right but by chance, so all count."""
    tables = []
    for seed in seeds:
        (fold, test), regions = draw_folds(seed, shuffled)
        tables.append(measure_fold(train(fold, seed), test, regions).focus.assign(seed=seed))
    focus = pd.concat(tables, ignore_index=True)
    return focus.assign(truth=focus["predicted"]) if shuffled else focus


@pytest.mark.parametrize(
    ("peak", "hit", "energy"), [((1, 1), True, None), ((1, 2), True, None), ((3, 3), False, 0.0), (None, False, 0.0)]
)
def test_a_map_hits_a_region_in_its_cell_or_half_a_cell_beside_it(peak, hit, energy):
    found, region = np.zeros((4, 4), np.float32), np.zeros((40, 40), bool)
    region[10:20, 10:20] = True
    if peak:
        found[peak] = 2.0
    measured = measure_map(found, region)
    assert measured["hit"] == hit
    assert energy is None or measured["energy"] == energy
    assert measured["area"] == 100 / 1600
    beside = np.maximum(0, np.abs(np.mgrid[:40, :40] - 14.5) - 4.5)
    assert measured["chance"] == (np.hypot(*beside) <= 5).mean()


def test_a_finer_map_must_hit_more_exactly():
    found, region = np.zeros((40, 40), np.float32), np.zeros((40, 40), bool)
    region[10:20, 10:20] = True
    found[15, 22] = 1.0
    assert not measure_map(found, region)["hit"]
    assert measure_map(np.maximum(found, np.roll(found, -5, axis=1) * 2), region) == {
        "hit": True,
        "chance": 100 / 1600,
        "energy": pytest.approx(2 / 3),
        "area": 100 / 1600,
    }


def test_an_even_map_has_the_area_as_its_energy():
    region = np.random.default_rng(0).random((48, 48)) < 0.3
    measured = measure_map(np.ones((6, 6), np.float32), region)
    assert measured["energy"] == pytest.approx(region.mean())


def build_seeing(row, column):
    """A classifier of 32 pixels whose class 1 grows with brightness in one of 4 x 4 blocks."""
    images, inner = keras.Input((32, 32, 3), name="images"), keras.Input((32, 32, 3))
    network = keras.Model(inner, keras.layers.AveragePooling2D(8)(inner), name="network")
    dense, end = keras.layers.Dense(2, name="logits"), keras.layers.Activation("softmax", name="probabilities")
    head = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten(), dense, end], name="head")
    kernel = np.zeros((4, 4, 3, 2))
    kernel[row, column, :, 1] = 0.01
    dense.set_weights([kernel.reshape(48, 2), np.array([0.5, 0.0])])
    return keras.Model(images, head(network(keras.layers.Identity(name="scaling")(images))))


def open_fold(images, ids, copies, labels):
    split = pd.DataFrame({"image_id": ids, "patient_id": ids, "group": ids, "duplicate_set": ids, "label": labels})
    split = split.assign(copy=copies, source="", fold="test")
    return select_fold(images, None, pd.DataFrame({"image_id": sorted(set(ids))}), split, "test", 2)


def test_each_image_is_measured_in_the_regions_that_it_has_and_the_least_agreement_is_shown_first():
    images = np.zeros((4, 32, 32), np.uint8)
    images[:3, 8:16, 16:24] = 255
    inside, elsewhere = np.zeros((2, 32, 32), bool)
    inside[8:16, 16:24] = elsewhere[24:, :8] = True
    lungs = {0: pack_masks(inside), 1: pack_masks(elsewhere), 3: pack_masks(inside)}
    regions = {"lungs": lungs, "lesions": {1: pack_masks(inside)}}
    looked = measure_fold(build_seeing(1, 2), open_fold(images, list("abcd"), 0, [1, 1, 1, 0]), regions)
    found = looked.focus.set_index(["image_id", "region"])
    assert sorted(found.index) == [("a", "lungs"), ("b", "lesions"), ("b", "lungs"), ("d", "lungs")]
    assert found["predicted"].tolist() == [1, 1, 1, 0]
    assert [bool(found.loc[key, "hit"]) for key in sorted(found.index)[:3]] == [True, True, False]
    assert sorted(looked.maps) == ["a", "b", "d"]
    shown = choose_shown(looked)
    assert shown["lungs/image_id"].tolist()[-1] == "a"
    assert shown["lungs/energy"].tolist() == sorted(shown["lungs/energy"].tolist())
    assert shown["lesions/map"].shape == (1, SIDE, SIDE)


def test_augmented_copies_are_not_explained():
    everywhere = {0: pack_masks(np.ones((32, 32), bool))}
    fold = open_fold(np.full((1, 32, 32), 200, np.uint8), ["a", "a"], [0, 1], 1)
    assert len(measure_fold(build_seeing(0, 0), fold, {"lungs": everywhere}).focus) == 1
