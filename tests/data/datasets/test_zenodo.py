"""Zenodo 3757476 under its several names, as volumes and as pictures."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from covbench.data.datasets.zenodo import index

LPS = np.diag([-0.7, -0.7, 5, 1])


def save(path: Path, values: np.ndarray, affine: np.ndarray = LPS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)


def draw_hounsfield(slices: int = 3) -> np.ndarray:
    """Lung in the middle of tissue."""
    values = np.full((6, 5, slices), -800, np.int16)
    values[[0, -1]] = 40
    return values


def draw_display(slices: int = 3) -> np.ndarray:
    """The same in 0-255, as the Radiopaedia cases were published."""
    return np.where(draw_hounsfield(slices) == 40, 219, 77).astype(np.uint8)


def draw_labels() -> np.ndarray:
    """Three slices: nothing, lungs, lungs and infection."""
    labels = np.zeros((6, 5, 3), np.uint8)
    labels[1, 1, 1:], labels[4, 1, 1:], labels[2, 2, 2] = 1, 2, 3
    return labels


@pytest.mark.parametrize(
    ("images", "masks", "name", "mask_name"),
    [
        ("COVID-19-CT-Seg_20cases", "Lung_and_Infection_Mask", "coronacases_001.nii.gz", "coronacases_001.nii.gz"),
        ("ct_scans", "lung_and_infection_mask", "coronacases_org_001.nii", "coronacases_001.nii"),
    ],
)
def test_slices_that_show_lung_are_used_whatever_the_copy_calls_its_files(tmp_path, images, masks, name, mask_name):
    save(tmp_path / images / name, draw_hounsfield())
    save(tmp_path / masks / mask_name, draw_labels())
    save(tmp_path / "Lung_Mask" / mask_name, draw_labels())
    table = index(tmp_path)
    assert table["frame"].tolist() == [0, 1, 2]
    assert table["reason"].tolist() == ["shows no lung", "", ""]
    assert set(table["patient_id"]) == {"coronacases_001"}
    assert set(table["mask_values"]) == {"1:left_lung 2:right_lung 3:infection"}
    assert set(table["orientation"]) == {"LPS"}


def test_hounsfield_units_get_the_window_in_which_the_others_were_published(tmp_path):
    for name, values in (("coronacases_001", draw_hounsfield()), ("radiopaedia_4_85506_1", draw_display())):
        save(tmp_path / "COVID-19-CT-Seg_20cases" / f"{name}.nii.gz", values)
        save(tmp_path / "Infection_Mask" / f"{name}.nii.gz", (draw_labels() == 3).astype(np.uint8))
    table = index(tmp_path).groupby("source")[["window_low", "window_high"]].first()
    assert table.loc["coronacases"].tolist() == [-1250, 250]
    assert table.loc["radiopaedia"].isna().all()


def test_where_only_infections_are_drawn_every_slice_is_used(tmp_path):
    save(tmp_path / "COVID-19-CT-Seg_20cases" / "coronacases_001.nii.gz", draw_hounsfield())
    save(tmp_path / "Infection_Mask" / "coronacases_001.nii.gz", (draw_labels() == 3).astype(np.uint8))
    table = index(tmp_path)
    assert not table["excluded"].any()
    assert set(table["mask_values"]) == {"1:infection"}


def test_two_series_of_one_radiopaedia_case_are_one_patient(tmp_path):
    for name in ("radiopaedia_10_85902_1", "radiopaedia_org_covid-19-pneumonia-10_85902_3-dcm"):
        save(tmp_path / "COVID-19-CT-Seg_20cases" / f"{name}.nii.gz", draw_display(2))
    table = index(tmp_path)
    assert set(table["patient_id"]) == {"radiopaedia_10"}
    assert set(table["reason"]) == {"no mask published"}


def test_pictures_of_slices_are_put_in_order_and_turned_by_their_origin(tmp_path):
    names = ["coronacases_org_001_10", "coronacases_org_001_9", "radiopaedia_org_covid-19-pneumonia-4_85506_1-dcm_2"]
    for folder in ("Imgs", "GT"):
        (tmp_path / "Inf-Net-slices" / folder).mkdir(parents=True)
    for name in names:
        Image.linear_gradient("L").save(tmp_path / "Inf-Net-slices" / "Imgs" / f"Data-1_{name}.jpg")
        Image.new("L", (256, 256), 200).save(tmp_path / "Inf-Net-slices" / "GT" / f"Data-1_{name}.png")
    table = index(tmp_path)
    assert [Path(path).stem for path in table["path"]] == [f"Data-1_{names[n]}" for n in (1, 0, 2)]
    assert table["patient_id"].tolist() == ["coronacases_001"] * 2 + ["radiopaedia_4"]
    assert table["orientation"].tolist() == ["LA", "LA", "LP"]
    assert set(table["mask_values"]) == {"128-255:infection"}
