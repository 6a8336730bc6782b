import numpy as np
import pandas as pd
import pytest

from covbench.data.augmentation import AUGMENTATIONS, augment
from covbench.data.folds import COPY_KEY, select_fold
from covbench.data.resizing import resize_mask
from covbench.evaluation.native import count_native
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.schema import SEGMENTATION, CovbenchError, Task

TASK = Task("two", SEGMENTATION, ("background", "lung", "lesion"), lesions=("lesion",))


def open_fold(copies):
    names = [f"slice{number}" for number in range(len(copies))]
    split = pd.DataFrame({"image_id": names[::-1], "copy": copies, "patient_id": "p", "fold": "test", "label": -1})
    small = np.zeros((len(copies), 4, 4), np.uint8)
    return select_fold(small, small, pd.DataFrame({"image_id": names}), split, "test", len(TASK.classes))


def test_lesion_pixels_are_counted_on_the_stored_grid_of_each_slice(tmp_path):
    tall, wide = np.zeros((8, 4), np.uint8), np.zeros((4, 12), np.uint8)
    tall[:3, :2], wide[:, :5], wide[0, 5:] = 2, 2, 1
    np.savez_compressed(tmp_path / "native_masks.npz", **{"0": tall, "1": wide})
    lesions = np.zeros((2, 4, 4), np.uint8)
    lesions[0, :, :2] = 1  # of slice1, which is the first row: 4 x 6 pixels of 4 x 12
    lesions[1, 0, 0] = 1  # of slice0: 2 x 1 pixels of 8 x 4
    counts = count_native(open_fold([0, 0]), lesions, tmp_path / "native_masks.npz", TASK)
    assert counts.to_dict("list") == {"both": [20, 2], "true": [20, 6], "predicted": [24, 2]}


def test_an_augmented_copy_is_compared_with_its_warped_mask(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 5:40] = 2
    np.savez_compressed(tmp_path / "native_masks.npz", **{"0": mask})
    fold = open_fold([1])
    warped = augment(mask, mask, AUGMENTATIONS["segmentation"], (*COPY_KEY, int(fold.keys[0])))[1]
    assert not np.array_equal(warped, mask)
    lesions = (resize_mask(warped, 32) == 2).astype(np.uint8)[None]
    counts = count_native(fold, lesions, tmp_path / "native_masks.npz", TASK).iloc[0]
    assert counts["true"] == np.count_nonzero(warped == 2)
    assert counts["both"] > 0.9 * counts["true"]


def test_native_counts_are_pooled_per_patient():
    rows = pd.DataFrame({"image_id": list("abc"), "copy": 0, "patient_id": list("xxy"), "source": "", "fold": "test"})
    rows = rows.assign(group=rows["patient_id"], duplicate_set=rows["image_id"])
    rows = rows.assign(truth=-1, seed=0)
    masks = np.array([[[2, 0]], [[0, 2]], [[2, 2]]], np.uint8)
    native = pd.DataFrame({"both": [3, 1, 4], "true": [4, 4, 4], "predicted": [4, 4, 4]})
    metrics, cases = evaluate_segmentation(rows, masks, masks, TASK, native=native)
    assert cases["both_lesion_native"].tolist() == [3, 1, 4]
    assert metrics["metrics"]["dice_lesion_volume"] == 1
    assert metrics["metrics"]["dice_lesion_volume_native"] == pytest.approx((2 * 4 / 16 + 1) / 2)
    assert metrics["metrics"]["jaccard_lesion_volume_native"] == pytest.approx((4 / 12 + 1) / 2)


def test_a_damaged_file_is_named_with_its_remedy(tmp_path):
    (tmp_path / "native_masks.npz").write_bytes(b"PK nothing")
    with pytest.raises(CovbenchError, match=r"native_masks\.npz.*delete it"):
        count_native(open_fold([0]), np.zeros((1, 4, 4), np.uint8), tmp_path / "native_masks.npz", TASK)


def test_a_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "native_masks.npz"
    np.savez_compressed(path, **{"0": np.random.default_rng(0).integers(0, 3, (64, 64)).astype(np.uint8)})
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    with pytest.raises(CovbenchError, match="delete it"):
        count_native(open_fold([0]), np.zeros((1, 4, 4), np.uint8), path, TASK)
