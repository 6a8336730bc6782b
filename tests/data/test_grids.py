"""Spacing is read from the headers of volumes, and is not known where a header cannot state it."""

import nibabel as nib
import numpy as np
import pytest

from covbench.data.grids import tabulate_grids
from covbench.data.index import fill_columns
from covbench.schema import SEGMENTATION, Task

TASK = Task("infection", SEGMENTATION, ("background", "infection"), lesions=("infection",))


def save(path, affine, shape=(6, 5, 3), unit="mm"):
    image = nib.Nifti1Image(np.zeros(shape, np.int16), affine)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)


def index_slices(path, frames, patients="p"):
    rows = [
        {"image_id": f"{path}#{frame}", "path": path, "frame": frame, "mask": "m.nii.gz", "patient_id": patient}
        for frame, patient in zip(frames, patients * len(frames) if len(patients) == 1 else patients, strict=True)
    ]
    return fill_columns(rows)


def test_the_spacing_is_that_of_upright_slices_whatever_the_order_of_the_axes(tmp_path):
    save(tmp_path / "flat.nii.gz", np.diag([-0.7, -0.8, 5.0, 1]))
    turned = np.array([[0, -0.7, 0, 0], [0, 0, -0.8, 0], [5.0, 0, 0, 0], [0, 0, 0, 1]])  # slices are the first axis
    save(tmp_path / "turned.nii.gz", turned)
    for name in ("flat.nii.gz", "turned.nii.gz"):
        grids = tabulate_grids(index_slices(name, [0, 1, 2]), tmp_path, TASK)
        np.testing.assert_allclose(grids[["slice_mm", "row_mm", "column_mm"]], [[5.0, 0.8, 0.7]] * 3)
        assert grids["volume"].tolist() == [0, 0, 0]
        assert grids["frame"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("affine", "unit"),
    [(np.diag([-1.0, -1, 1, 1]), "mm"), (np.eye(4), "mm"), (np.diag([-0.0007, -0.0007, 0.005, 1]), "meter")],
    ids=["all 1 mm", "placeholder", "metres"],
)
def test_a_header_that_does_not_state_millimetres_gives_no_spacing(affine, unit, tmp_path):
    save(tmp_path / "a.nii.gz", affine, unit=unit)
    grids = tabulate_grids(index_slices("a.nii.gz", [0, 1]), tmp_path, TASK)
    assert grids[["slice_mm", "row_mm", "column_mm"]].isna().all(axis=None)
    assert grids["volume"].tolist() == [0, 0]


def test_slices_of_several_patients_in_one_file_share_no_spacing(tmp_path):
    save(tmp_path / "stack.nii.gz", np.diag([-0.7, -0.8, 5.0, 1]))
    grids = tabulate_grids(index_slices("stack.nii.gz", [0, 1, 2], ["p", "p", "q"]), tmp_path, TASK)
    assert grids["volume"].tolist() == [0, 0, -1]
    assert grids["row_mm"].isna().all()


def test_pictures_are_no_volumes(tmp_path):
    grids = tabulate_grids(index_slices("a.png", [-1]), tmp_path, TASK)
    assert grids["volume"].tolist() == [-1]
    assert grids["row_mm"].isna().all()
