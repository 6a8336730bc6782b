"""MedSeg in its three forms."""

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from covbench.data.datasets.medseg import index
from covbench.data.images import resize_image


def write_stack(raw: Path, name: str, images: np.ndarray, lying: bool = False) -> None:
    """images (N, 32, 32); two lungs side by side, one lesion; one-hot with four channels."""
    labels = np.full(images.shape, 3)
    labels[:, 12:20, 4:12], labels[:, 12:20, 20:28], labels[:, 14, 22] = 2, 2, 0
    if lying:
        labels, images = labels.swapaxes(1, 2), images.swapaxes(1, 2)
    np.save(raw / f"images_{name}.npy", images[..., None].astype(np.float32))
    np.save(raw / f"masks_{name}.npy", np.eye(4, dtype=np.int8)[labels])


def draw_scans(lengths: list[int]) -> np.ndarray:
    """Volumes one after another, in HU: alike inside, different between, as (N, 32, 32)."""
    rng = np.random.default_rng(0)
    slices = []
    for length in lengths:
        scan = resize_image(rng.integers(0, 255, (5, 5), np.uint8), 32).astype(float) * 6 - 1200
        slices += [scan + rng.normal(0, 40, scan.shape) for _ in range(length)]
    return np.stack(slices)


def test_stacks_give_a_row_per_slice_and_hounsfield_units_the_studys_window(tmp_path):
    write_stack(tmp_path, "medseg", draw_scans([3]))
    np.save(tmp_path / "test_images_medseg.npy", draw_scans([2])[..., None])
    table = index(tmp_path)
    assert table["image_id"].tolist() == [f"images_medseg.npy#{n}" for n in range(3)] + [
        f"test_images_medseg.npy#{n}" for n in range(2)
    ]
    assert table["reason"].tolist() == [""] * 3 + ["no mask published"] * 2
    assert set(table["window_low"]) == {-1500}
    assert set(table["window_high"]) == {500}
    assert table["patient_id"].equals(table["image_id"])
    assert set(table["orientation"]) == {""}


def test_stacks_that_lie_on_a_side_are_noticed(tmp_path):
    write_stack(tmp_path, "medseg", draw_scans([3]), lying=True)
    assert set(index(tmp_path)["orientation"]) == {"LP"}


def test_the_radiopaedia_stack_is_cut_into_its_nine_patients(tmp_path):
    lengths = [4, 7, 2, 5, 3, 6, 4, 2, 8]
    write_stack(tmp_path, "radiopedia", draw_scans(lengths))
    expected = [f"radiopaedia_{n:02d}" for n, length in enumerate(lengths, 1) for _ in range(length)]
    assert index(tmp_path)["patient_id"].tolist() == expected


def test_nifti_labels_are_read_and_a_better_form_goes_first(tmp_path):
    affine = np.diag([-1, -1, 5, 1])
    hounsfield = np.full((6, 5, 2), -900, np.int16)
    hounsfield[[0, -1]] = 40
    nib.save(nib.Nifti1Image(hounsfield, affine), tmp_path / "tr_im.nii.gz")
    nib.save(nib.Nifti1Image(np.full((6, 5, 2), 3, np.uint8), affine), tmp_path / "tr_mask.nii.gz")
    table = index(tmp_path)
    assert table["mask"].tolist() == ["tr_mask.nii.gz"] * 2
    assert table["mask_values"].tolist() == ["1:ground_glass 2:consolidation 3:effusion"] * 2
    assert not table["excluded"].any()
    write_stack(tmp_path, "medseg", draw_scans([2]))
    table = index(tmp_path)
    assert table["reason"].tolist() == [""] * 2 + ["the same slices are there in a better form"] * 2


def test_pictures_with_several_classes_are_used_and_their_binary_doubles_excluded(tmp_path):
    for folder in ("MultiClassInfection-Train", "LungInfection-Train"):
        for part in ("Imgs", "GT"):
            (tmp_path / folder / part).mkdir(parents=True)
        for number in (10, 9):
            Image.linear_gradient("L").save(tmp_path / folder / "Imgs" / f"{number}.jpg")
            Image.new("L", (256, 256), 1).save(tmp_path / folder / "GT" / f"{number}.png")
    table = index(tmp_path)
    assert table["path"].tolist()[:2] == [f"MultiClassInfection-Train/Imgs/{n}.jpg" for n in (9, 10)]
    assert table["excluded"].tolist() == [False, False, True, True]
    assert (table["patient_id"] == table["image_id"]).all()  # nobody says whose slices they are
