import numpy as np
import pandas as pd
import pytest

from covbench.data.augmentation import AUGMENTATIONS, augment
from covbench.data.folds import COPY_KEY, select_fold
from covbench.data.grids import SPACING
from covbench.data.resizing import resize_mask
from covbench.evaluation.metrics.columns import SIZES, SLICE_SHAPES, SURFACES, VOLUME_SHAPES
from covbench.evaluation.native import measure_native
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.schema import SEGMENTATION, CovbenchError, Task
from covbench.system.files import write_table

TASK = Task("two", SEGMENTATION, ("background", "lung", "lesion"), lesions=("lesion",))


def open_fold(copies):
    names = [f"slice{number}" for number in range(len(copies))]
    split = pd.DataFrame({"image_id": names[::-1], "copy": copies, "patient_id": "p", "fold": "test", "label": -1})
    small = np.zeros((len(copies), 4, 4), np.uint8)
    return select_fold(small, small, pd.DataFrame({"image_id": names}), split, "test", len(TASK.classes))


def store(folder, masks, spacing=(np.nan, np.nan, np.nan), volumes=None, frames=None):
    """Write the masks of slice0, slice1, … and the table of their grids; by default they are pictures."""
    np.savez_compressed(folder / "native_masks.npz", **{str(number): mask for number, mask in enumerate(masks)})
    grids = pd.DataFrame({"image_id": [f"slice{number}" for number in range(len(masks))]})
    grids["volume"] = -1 if volumes is None else volumes
    grids["frame"] = -1 if frames is None else frames
    write_table(folder / "native_grids.parquet", grids.assign(**dict(zip(SPACING, spacing, strict=True))))
    return folder / "native_masks.npz"


def test_lesion_pixels_are_counted_on_the_stored_grid_of_each_slice(tmp_path):
    tall, wide = np.zeros((8, 4), np.uint8), np.zeros((4, 12), np.uint8)
    tall[:3, :2], wide[:, :5], wide[0, 5:] = 2, 2, 1
    path = store(tmp_path, [tall, wide])
    lesions = np.zeros((2, 4, 4), np.uint8)
    lesions[0, :, :2] = 1  # of slice1, which is the first row: 4 x 6 pixels of 4 x 12
    lesions[1, 0, 0] = 1  # of slice0: 2 x 1 pixels of 8 x 4
    counts = measure_native(open_fold([0, 0]), lesions, path, TASK)[["both", "true", "predicted"]]
    assert counts.to_dict("list") == {"both": [20, 2], "true": [20, 6], "predicted": [24, 2]}


def test_an_augmented_copy_is_compared_with_its_warped_mask(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 5:40] = 2
    path = store(tmp_path, [mask])
    fold = open_fold([1])
    warped = augment(mask, mask, AUGMENTATIONS["segmentation"], (*COPY_KEY, int(fold.keys[0])))[1]
    assert not np.array_equal(warped, mask)
    lesions = (resize_mask(warped, 32) == 2).astype(np.uint8)[None]
    counts = measure_native(fold, lesions, path, TASK).iloc[0]
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
    store(tmp_path, [np.zeros((4, 4), np.uint8)]).write_bytes(b"PK nothing")
    with pytest.raises(CovbenchError, match=r"native_masks\.npz.*delete it"):
        measure_native(open_fold([0]), np.zeros((1, 4, 4), np.uint8), tmp_path / "native_masks.npz", TASK)


def test_a_changed_byte_is_noticed(tmp_path):
    path = store(tmp_path, [np.random.default_rng(0).integers(0, 3, (64, 64)).astype(np.uint8)])
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    with pytest.raises(CovbenchError, match="delete it"):
        measure_native(open_fold([0]), np.zeros((1, 4, 4), np.uint8), path, TASK)


def test_grids_of_other_images_are_refused(tmp_path):
    path = store(tmp_path, [np.zeros((4, 4), np.uint8)] * 2)
    grids = pd.read_parquet(tmp_path / "native_grids.parquet")
    write_table(tmp_path / "native_grids.parquet", grids[::-1])
    with pytest.raises(CovbenchError, match="grids are those of other images; delete it"):
        measure_native(open_fold([0, 0]), np.zeros((2, 4, 4), np.uint8), path, TASK)


def draw_volume(lesions=((1, 1, 1, 0), (0, 0, 1, 0))):
    """Two slices of 4 x 4 pixels that are lung, with lesions in their first row, and what is predicted of them."""
    masks = [np.ones((4, 4), np.uint8) for _ in range(2)]
    for mask, row in zip(masks, lesions, strict=True):
        mask[0, np.array(row) == 1] = 2
    found = np.zeros((2, 4, 4), np.uint8)
    found[:, 0, :2] = 1
    return masks, found


def measure_volume(folder, masks, found, spacing=(5.0, 1.0, 2.0), frames=(3, 4)):
    """The rows of a fold go backwards: slice1 first. The values of the volume are on the row of slice0."""
    path = store(folder, masks, spacing, 7, list(frames))
    return measure_native(open_fold([0] * len(found)), found[::-1], path, TASK)


def test_the_lesion_of_a_whole_volume_has_millilitres_and_percent_of_the_lung(tmp_path):
    table = measure_volume(tmp_path, *draw_volume())
    assert table[list(SIZES)].iloc[0].isna().all()
    # 4 annotated and 4 predicted voxels of 5 x 1 x 2 mm, of 32 voxels of lung
    assert table[list(SIZES)].iloc[1].tolist() == [0.04, 0.04, 12.5, 12.5]


def test_a_volume_without_an_annotated_lung_has_no_percent(tmp_path):
    masks, found = draw_volume()
    table = measure_volume(tmp_path, [np.where(mask == 2, 2, 0).astype(np.uint8) for mask in masks], found)
    assert table.loc[1, ["true_ml", "predicted_ml"]].tolist() == [0.04, 0.04]
    assert table[["true_percent", "predicted_percent"]].isna().all(axis=None)


def test_lesions_of_a_volume_are_connected_across_slices(tmp_path):
    masks, found = draw_volume()
    table = measure_volume(tmp_path, masks, found)
    # slice0 has one of one lesion. In slice1 two are predicted side by side, beside the annotated one
    assert table["detection_f1_lesion"].tolist() == [0, 1]
    assert table["detection_f1_lesion_volume"].iloc[1] == 1
    apart = measure_volume(tmp_path, masks, found, frames=(3, 5))  # a slice between them cannot be used
    assert apart["detection_f1_lesion_volume"].iloc[1] == pytest.approx(2 * 1 / (2 + 2))


def test_a_volume_is_scored_only_if_all_its_slices_are_in_the_fold(tmp_path):
    masks, found = draw_volume()
    path = store(tmp_path, [*masks, masks[0]], (5.0, 1.0, 2.0), 7, [3, 4, 5])
    table = measure_native(open_fold([0, 0]), found, path, TASK)
    assert table[[*VOLUME_SHAPES, *SIZES]].isna().all(axis=None)
    assert table[list(SLICE_SHAPES)].notna().all(axis=None)


def test_augmented_copies_make_no_volume(tmp_path):
    masks, found = draw_volume()
    path = store(tmp_path, masks, (5.0, 1.0, 2.0), 7, [3, 4])
    assert measure_native(open_fold([0, 1]), found, path, TASK)[list(SIZES)].isna().all(axis=None)


def test_without_a_spacing_only_detection_is_scored(tmp_path):
    table = measure_volume(tmp_path, *draw_volume(), spacing=(np.nan,) * 3)
    assert table[[f"{name}_lesion" for name in SURFACES]].isna().all(axis=None)
    assert table[["detection_f1_lesion"]].notna().all(axis=None)
    assert table[["true_ml", "predicted_ml"]].isna().all(axis=None)
    assert table["true_percent"].iloc[1] == 12.5


def test_an_empty_prediction_has_the_worst_scores_and_an_empty_annotation_none(tmp_path):
    masks, found = draw_volume(lesions=((1, 1, 1, 0), (0, 0, 0, 0)))
    table = measure_volume(tmp_path, masks, np.zeros_like(found))
    assert table[list(SLICE_SHAPES)].iloc[0].isna().all()
    diagonal = np.hypot(4 * 1, 4 * 2)
    assert table[list(SLICE_SHAPES)].iloc[1].tolist() == pytest.approx([0, 0, diagonal, diagonal, 0])
    diagonal = np.sqrt(4**2 + 8**2 + 10**2)
    assert table[list(VOLUME_SHAPES)].iloc[1].tolist() == pytest.approx([0, 0, diagonal, diagonal, 0])
    masks, found = draw_volume(lesions=((0, 0, 0, 0), (0, 0, 0, 0)))
    table = measure_volume(tmp_path, masks, found)
    assert table[[*SLICE_SHAPES, *VOLUME_SHAPES]].isna().all(axis=None)
    assert table.loc[1, ["true_ml", "predicted_ml"]].tolist() == [0, 0.04]
