"""Lung masks: those that a dataset ships come first, then a classical segmentation, and none if that is implausible."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from covbench.data import lungs as module
from covbench.data.datasets.radiography import name_lung_mask
from covbench.data.lungs import FOUND, NOWHERE, SHIPPED, measure_dice, prepare_lungs
from covbench.data.masks import pack_masks, unpack_masks
from covbench.models.xray_lungs import find_xray_lungs

SIDE = 96


def draw_chest(side=SIDE):
    """A grey chest with two dark lungs, and where they are."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    mask = (((np.abs(x) - 0.42) / 0.3) ** 2 + (y / 0.66) ** 2) < 1
    noise = np.random.default_rng(0).normal(0, 6, mask.shape)
    picture = ndimage.gaussian_filter(np.where(mask, 70.0, 160.0), 1) + noise
    return picture.clip(0, 255).astype(np.uint8), mask


def index_of(paths):
    return pd.DataFrame({"image_id": paths, "path": paths, "label": "covid", "mask": "", "excluded": False})


def test_the_lungs_of_a_drawn_chest_are_found():
    picture, mask = draw_chest()
    assert measure_dice(find_xray_lungs(picture), mask) > 0.85


def test_a_shipped_mask_counts_and_measures_the_segmentation_that_serves_where_there_is_none(tmp_path):
    picture, mask = draw_chest()
    (tmp_path / "COVID/masks").mkdir(parents=True)
    Image.fromarray((mask[::2, ::2] * 255).astype(np.uint8)).save(tmp_path / "COVID/masks/a.png")
    index = index_of(["COVID/images/a.png", "COVID/images/b.png"])
    images = np.stack([picture, picture])
    packed, facts = prepare_lungs("radiography", index, tmp_path, images)
    found = unpack_masks(packed, SIDE)
    assert facts["origin"].tolist() == [SHIPPED, FOUND]
    assert measure_dice(found[0], mask) > 0.97  # but for the coarser grid on which it was shipped
    assert (found[1] == find_xray_lungs(picture)).all()
    assert facts["dice"][0] == pytest.approx(measure_dice(find_xray_lungs(picture), found[0]))
    assert np.isnan(facts["dice"][1])


def test_an_implausible_segmentation_leaves_no_lungs_and_counts_as_a_miss(tmp_path, monkeypatch):
    picture, mask = draw_chest()
    monkeypatch.setitem(module.LUNG_FINDERS, "ct", lambda image: np.ones(image.shape, bool))
    index = pd.DataFrame({"image_id": ["s"], "path": ["s"], "label": "", "mask": "m", "excluded": False})
    packed, facts = prepare_lungs("zenodo_multiclass", index, tmp_path, picture[None])
    assert (facts["origin"][0], packed.any()) == (NOWHERE, False)
    packed, facts = prepare_lungs("zenodo_multiclass", index, tmp_path, picture[None], mask[None].astype(np.uint8))
    assert (facts["origin"][0], facts["dice"][0]) == (SHIPPED, 0.0)
    assert (unpack_masks(packed, SIDE)[0] == mask).all()


def test_radiography_ships_masks_beside_its_images():
    name = "COVID-19_Radiography_Dataset/COVID/images/COVID-1.png"
    assert name_lung_mask(name) == "COVID-19_Radiography_Dataset/COVID/masks/COVID-1.png"
    assert name_lung_mask("COVID/COVID-1.png") == ""  # an earlier release, which has no masks


def test_the_dice_of_two_masks_is_twice_what_they_share_over_what_they_cover():
    one, other = np.array([[1, 1, 0, 0]], bool), np.array([[0, 1, 1, 1]], bool)
    assert measure_dice(one, other) == pytest.approx(2 / 5)
    assert (unpack_masks(pack_masks(one), 4) == one).all()
