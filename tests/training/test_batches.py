"""Loading: batches of RGB and one-hot targets, whose pixels depend on seed, epoch and image alone."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covbench.data.augmentation import AUGMENTATIONS
from covbench.data.folds import select_fold
from covbench.training.batches import Batches

COUNT, SIDE = 10, 32


def fold_of(images, masks=None, classes=3):
    ids = [f"image{number}" for number in range(len(images))]
    split = pd.DataFrame({"image_id": ids, "copy": 0, "patient_id": ids, "group": ids, "source": "", "fold": "train"})
    split["duplicate_set"] = ids
    split["label"] = np.arange(len(images)) % classes
    return select_fold(images, masks, pd.DataFrame({"image_id": ids}), split, "train", classes)


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (COUNT, SIDE, SIDE), dtype=np.uint8)


@pytest.fixture
def masks(images):
    return images // 100


def looks(fold, batch_size, **choices):
    """image number -> its picture, found again by its place in the order."""
    batches = Batches(fold, batch_size, seed=1, epoch=2, augmentation=AUGMENTATIONS["segmentation"], **choices)
    return {
        int(row): picture
        for number, rows in enumerate(batches.chosen)
        for row, picture in zip(rows, batches[number][0], strict=True)
    }


def test_a_batch_is_grey_as_rgb_and_one_hot_labels(images):
    x, y = Batches(fold_of(images), 4, seed=0)[1]
    assert x.dtype == np.uint8
    assert y.dtype == np.float32
    for channel in range(3):
        np.testing.assert_array_equal(x[..., channel], images[4:8])
    np.testing.assert_array_equal(y, [[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]])


def test_a_mask_becomes_a_map_per_class(images, masks):
    _, y = Batches(fold_of(images, masks), 4, seed=0)[2]
    assert (y.dtype, y.shape) == (np.uint8, (2, SIDE, SIDE, 3))
    np.testing.assert_array_equal(y.argmax(-1), masks[8:])
    assert (y.sum(-1) == 1).all()


@pytest.mark.parametrize("choices", [{"shuffle": True}, {"micro_batches": 2}, {"shuffle": True, "micro_batches": 3}])
def test_an_image_looks_the_same_whatever_the_batch_it_comes_in(images, choices):
    fold = fold_of(images)
    alone = looks(fold, 1)
    together = looks(fold, 7, **choices)
    assert sorted(alone) == sorted(together)
    for number, picture in together.items():
        np.testing.assert_array_equal(alone[number], picture)


def test_going_on_inside_an_epoch_shows_what_was_left(images):
    fold = fold_of(images)
    whole, rest = Batches(fold, 3, 0, 1, shuffle=True), Batches(fold, 3, 0, 1, shuffle=True, first=2)
    np.testing.assert_array_equal(whole[2][0], rest[0][0])
    assert len(rest) == len(whole) - 2


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel tells no resident memory")
def test_an_epoch_leaves_no_more_than_a_batch_of_a_mapped_array_in_memory(tmp_path):
    count, side = 256, 256  # 16 MiB
    np.save(tmp_path / "images.npy", np.ones((count, side, side), np.uint8))
    fold = fold_of(np.load(tmp_path / "images.npy", mmap_mode="r"))
    before = mapped_mib()
    for row in range(count):
        fold.load(row)[0].sum()
    assert mapped_mib() - before > 12, "the array is not read by mapping any more: this test proves nothing"
    batches = Batches(fold, 32, seed=0)
    for number in range(len(batches)):
        batches[number]
    assert mapped_mib() - before < 4


def mapped_mib():
    """File pages in this process's memory."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{os.getpid()}/status").read_text().splitlines())
    return int(status["RssFile"].split()[0]) / 1024
