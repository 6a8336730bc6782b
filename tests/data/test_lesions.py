"""Lesion masks that come with a dataset, on the grid of the prepared images."""

import pandas as pd
import pytest

from covbench.data.datasets import phantom_xray, usable_rows
from covbench.data.lesions import prepare_lesions
from covbench.data.masks import unpack_masks
from covbench.schema import INDEX_COLUMNS


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    raw = tmp_path_factory.mktemp("phantom_xray")
    phantom_xray.draw(raw)
    return raw, phantom_xray.index(raw)


def test_every_usable_image_of_covid_has_a_lesion_and_no_other(phantoms):
    raw, index = phantoms
    found = prepare_lesions("phantom_xray", index, raw, 48)
    rows = usable_rows(index, phantom_xray.CARD.tasks[0])
    marked = rows.iloc[found["rows"]]
    assert set(marked["label"]) == {"covid"}
    twice = "P900_0"  # filed under a second patient; its first name has the mask
    assert len(marked) == (rows["label"].eq("covid") & rows["image_id"].ne(twice)).sum()
    masks = unpack_masks(found["masks"], 48)
    assert masks.shape == (len(marked), 48, 48)
    assert 0.005 < masks.mean() < 0.25


def test_an_image_without_ground_glass_has_no_mask(phantoms):
    raw, index = phantoms
    covid, normal = (
        index.loc[(index["label"] == label) & ~index["excluded"], "path"].iloc[0] for label in ("covid", "normal")
    )
    lesion = phantom_xray.read_lesions(raw, covid)
    assert (lesion.dtype, lesion.shape) == (bool, (phantom_xray.SIZE, phantom_xray.SIZE))
    assert phantom_xray.read_lesions(raw, normal) is None


def test_a_dataset_without_lesion_masks_has_none(tmp_path):
    found = prepare_lesions("covid_ct", pd.DataFrame(columns=list(INDEX_COLUMNS)), tmp_path, 40)
    assert len(found["rows"]) == 0
    assert found["masks"].shape == (0, 40, 5)
