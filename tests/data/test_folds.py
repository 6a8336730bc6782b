"""Folds: a split's rows find their pixels, whatever the order of the prepared array."""

import numpy as np
import pandas as pd
import pytest

from covbench.data.folds import open_folds, select_fold, tabulate_predictions
from covbench.schema import PREDICTION_COLUMNS


def split_of(ids, folds, copies=None, labels=None):
    count = len(ids)
    return pd.DataFrame(
        {
            "image_id": ids,
            "copy": copies or [0] * count,
            "patient_id": ids,
            "group": ids,
            "duplicate_set": ids,
            "source": "",
            "label": labels or [0] * count,
            "fold": folds,
        }
    )


@pytest.fixture
def prepared():
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 16, 16), np.uint8) * 10
    return images, pd.DataFrame({"image_id": ["a", "b", "c", "d"]})


def test_rows_are_found_by_image_id(prepared):
    images, rows = prepared
    fold = select_fold(images, None, rows, split_of(["d", "b", "a"], ["test", "train", "test"]), "test", 2)
    assert fold.load_images()[:, 0, 0].tolist() == [30, 0]


def test_an_image_may_validate_and_test_where_a_protocol_did_so(prepared):
    images, rows = prepared
    split = split_of(["a", "a", "b"], ["val", "test", "train"])
    assert [len(select_fold(images, None, rows, split, fold, 2)) for fold in ("train", "val", "test")] == [1, 1, 1]


def test_an_image_that_was_not_prepared_is_an_error(prepared):
    images, rows = prepared
    with pytest.raises(KeyError, match="zebra"):
        select_fold(images, None, rows, split_of(["zebra"], ["test"]), "test", 2)


def test_an_augmented_copy_differs_from_its_image_and_looks_the_same_every_time(prepared):
    _, rows = prepared
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32), dtype=np.uint8)
    masks = (images > 128).astype(np.uint8)
    split = split_of(["a", "a"], ["train", "train"], copies=[0, 1])
    fold = select_fold(images, masks, rows, split, "train", 2)
    original, copy = fold.load(0), fold.load(1)
    np.testing.assert_array_equal(original[0], images[0])
    assert (copy[0] != original[0]).any()
    np.testing.assert_array_equal(copy[1], fold.load(1)[1])


def test_folds_open_without_reading_the_pixels(tmp_path, prepared):
    images, rows = prepared
    np.save(tmp_path / "images.npy", images)
    rows.to_parquet(tmp_path / "rows.parquet")
    split_of(["a", "b"], ["train", "val"]).to_parquet(tmp_path / "split.parquet")
    paths = [str(tmp_path / "images.npy"), str(tmp_path / "rows.parquet")]
    train, val = open_folds(str(tmp_path / "split.parquet"), paths, ("train", "val"), 2)
    assert isinstance(train.images, np.memmap)
    assert len(val) == 1


def test_predictions_carry_the_promised_columns_and_a_probability_per_class(prepared):
    images, rows = prepared
    fold = select_fold(images, None, rows, split_of(["a", "b"], ["test", "test"], labels=[1, 0]), "test", 2)
    table = tabulate_predictions(fold, "test", 7, np.array([[0.2, 0.8], [0.9, 0.1]]))
    assert list(table.columns) == [*PREDICTION_COLUMNS, "p_0", "p_1"]
    assert table["truth"].tolist() == [1, 0]
    assert table["p_1"].tolist() == [0.8, 0.1]
