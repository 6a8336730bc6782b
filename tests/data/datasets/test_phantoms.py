"""The drawn datasets hold what they promise: the same every time, learnable, and with known flaws."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covbench.data.datasets import phantom_ct, phantom_xray
from covbench.data.volumes import read_frames
from covbench.schema import INDEX_COLUMNS
from covbench.system.files import hash_file


@pytest.fixture(scope="module")
def xray(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    raw = tmp_path_factory.mktemp("phantom_xray")
    phantom_xray.draw(raw)
    return raw, phantom_xray.index(raw)


@pytest.fixture(scope="module")
def ct(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    raw = tmp_path_factory.mktemp("phantom_ct")
    phantom_ct.draw(raw)
    return raw, phantom_ct.index(raw)


def test_a_second_drawing_has_the_same_bytes(tmp_path: Path, xray, ct) -> None:
    for module, (raw, _) in ((phantom_xray, xray), (phantom_ct, ct)):
        again = tmp_path / raw.name
        again.mkdir()
        module.draw(again)
        files = sorted(path.relative_to(raw) for path in raw.rglob("*.*"))
        assert files == sorted(path.relative_to(again) for path in again.rglob("*.*"))
        assert [hash_file(raw / name) for name in files] == [hash_file(again / name) for name in files]


def test_indexes_have_every_column_and_unique_names(xray, ct) -> None:
    for _, index in (xray, ct):
        assert list(index.columns) == list(INDEX_COLUMNS)
        assert index["image_id"].is_unique
        assert (index.loc[~index["excluded"], "phash"].str.len() == 16).all()


def test_xray_patients_have_several_pictures_of_one_finding_from_one_hospital(xray) -> None:
    _, index = xray
    by_patient = index[~index["excluded"] & (index["patient_id"] != "P900")].groupby("patient_id")
    assert by_patient.ngroups == 80
    assert by_patient.size().between(2, 6).all()
    assert by_patient["label"].nunique().max() == 1
    assert by_patient["source"].nunique().max() == 1


def test_hospitals_differ_in_the_share_of_covid_patients(xray) -> None:
    _, index = xray
    patients = index[index["patient_id"] != "P900"].groupby("patient_id").first()
    share = (patients["label"] == "covid").groupby(patients["source"]).mean()
    assert sorted(share.index) == ["east", "north", "south", "west"]
    assert share["north"] >= 0.6
    assert share["south"] <= 0.4


def test_every_class_of_every_task_has_patients_enough_for_three_folds(xray, ct) -> None:
    for module, (_, index) in ((phantom_xray, xray), (phantom_ct, ct)):
        usable = index[~index["excluded"]].groupby("label")["patient_id"].nunique()
        assert set(usable.index) == set(module.CARD.tasks[0].classes)
        assert usable.min() >= 12


def test_one_xray_is_filed_twice_under_two_patients(xray) -> None:
    _, index = xray
    twins = index[index.duplicated("sha256", keep=False)]
    assert len(twins) == 2
    assert twins["patient_id"].nunique() == 2
    assert "P900" in set(twins["patient_id"])


def test_one_ct_volume_is_filed_twice_under_two_patients(ct) -> None:
    _, index = ct
    twins = index[~index["excluded"] & index.duplicated("sha256", keep=False)]
    assert set(twins["patient_id"]) == {"ct11", "ct90"}
    assert len(twins) == 2 * (index["patient_id"] == "ct90").sum()


def test_lateral_views_and_a_blank_slice_are_excluded_with_their_reason(xray, ct) -> None:
    _, pictures = xray
    assert (pictures["excluded"] == (pictures["view"] == "L")).all()
    assert set(pictures.loc[pictures["excluded"], "reason"]) == {"lateral view"}
    _, slices = ct
    assert slices.loc[slices["excluded"], "image_id"].tolist() == ["volumes/ct07.nii.gz#0"]
    assert slices.loc[slices["excluded"], "reason"].tolist() == ["no tissue in the slice"]


def test_xrays_are_grey_8_bit_pictures_that_use_the_range(xray) -> None:
    raw, index = xray
    for name in index.loc[~index["excluded"], "path"].iloc[::20]:
        with Image.open(raw / name) as picture:
            assert picture.mode == "L"
            assert picture.size == (160, 160)
            pixels = np.asarray(picture)
        assert np.percentile(pixels, 95) - np.percentile(pixels, 5) > 90


def test_ct_tissues_have_their_density(ct) -> None:
    raw, _ = ct
    volume = np.asarray(nib.load(raw / "volumes/ct00.nii.gz").dataobj)
    mask = np.asarray(nib.load(raw / "masks/ct00.nii.gz").dataobj)
    assert volume.dtype == np.int16
    assert mask.dtype == np.uint8
    assert -930 < np.median(volume[mask == 1]) < -650
    middle = volume[64, 48:52, :]
    assert -60 < np.median(middle) < 120
    assert np.median(volume[:6, :6]) == pytest.approx(-1000, abs=30)
    assert (volume > 200).mean() > 0.005


@pytest.mark.parametrize(("finding", "least"), [("normal", 0), ("other_pneumonia", 15), ("covid", 15)])
def test_every_slice_of_a_sick_patient_shows_a_lesion_and_none_of_a_healthy_one(ct, finding: str, least: int) -> None:
    raw, index = ct
    chosen = index[~index["excluded"] & (index["label"] == finding)]
    for name, rows in chosen.groupby("mask"):
        for mask in read_frames(raw / name, list(rows["frame"])):
            lesion = int((mask == 2).sum())
            assert lesion >= least if least else lesion == 0
            assert (mask == 1).any()


def test_slices_stand_upright(ct) -> None:
    """Seen from the feet with the front up: the spine is in the lower half, the heart bulges to the picture's right."""
    raw, _ = ct
    levels = nib.load(raw / "volumes/ct00.nii.gz").shape[2]
    values = next(read_frames(raw / "volumes/ct00.nii.gz", [levels - 1]))
    lungs = next(read_frames(raw / "masks/ct00.nii.gz", [levels - 1])) == 1
    bone_rows = np.nonzero(values[:, 54:74] > 300)[0]
    assert bone_rows.size > 10
    assert np.median(bone_rows) > 70
    assert lungs[:, :64].sum() > 1.15 * lungs[:, 64:].sum()
