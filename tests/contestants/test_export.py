"""What a contestant may see: all of the training and validation folds, and nothing of the test but its images."""

import json
import os
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pandas as pd
import pytest

from covbench.contestants.export import Source, export_folds, list_folds
from covbench.schema import CovbenchError, Run

from .folds import CLASSES, LESIONS, make_folds

RUN = Run("covid_ct", "audited", "anyone", 0)


@pytest.fixture
def published(tmp_path):
    """Published files whose folders tell the class."""
    _, index = make_folds()
    raw = tmp_path / "raw"
    for number, path in enumerate(index["path"]):
        (raw / path).parent.mkdir(parents=True, exist_ok=True)
        (raw / path).write_bytes(f"picture {number}".encode())
    return raw


def export(folder, images, raw=Path(), masks=False, **more):
    folds, index = make_folds(masks=masks)
    task = LESIONS if masks else CLASSES
    export_folds(folder, RUN, task, list_folds(task.name, folds), Source(index, raw), images, **more)
    return {name: pd.read_csv(folder / f"{name}.csv") for name in folds}


def match(tables, name, index):
    """Rows of the index in the order of a table with image_id."""
    return index.set_index("image_id").loc[tables[name]["image_id"]]


def test_pictures_and_labels_of_the_training_fold_are_those_of_its_images(tmp_path):
    tables = export(tmp_path / "given", "png")
    folds, index = make_folds()
    assert (match(tables, "train", index)["label"].to_numpy() == tables["train"]["label"]).all()
    by_name = dict(zip(folds["train"].rows["image_id"], folds["train"].load_images(), strict=True))
    for row in tables["train"].itertuples():
        picture = cv2.imread(str(tmp_path / "given" / row.file), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(picture, by_name[row.image_id])


def test_arrays_are_in_the_order_of_the_tables(tmp_path):
    tables = export(tmp_path / "given", "arrays", masks=True)
    folds, _ = make_folds(masks=True)
    places = {name: place for place, name in enumerate(folds["train"].rows["image_id"])}
    order = [places[name] for name in tables["train"]["image_id"]]
    given = tmp_path / "given"
    np.testing.assert_array_equal(np.load(given / "train_images.npy"), folds["train"].load_images()[order])
    np.testing.assert_array_equal(np.load(given / "train_masks.npy"), folds["train"].load_masks()[order])
    assert not (given / "test_masks.npy").exists()


def test_a_nifti_slice_has_the_columns_first(tmp_path):
    tables = export(tmp_path / "given", "nifti", masks=True)
    folds, _ = make_folds(masks=True)
    row = tables["train"].iloc[0]
    stored = np.asarray(nibabel.load(tmp_path / "given" / row["mask"]).dataobj)[:, :, 0]
    place = list(folds["train"].rows["image_id"]).index(row["image_id"])
    np.testing.assert_array_equal(stored.T, folds["train"].load_masks()[place])


def test_a_segmentation_lies_in_the_folders_of_nnunet(tmp_path):
    tables = export(tmp_path / "given", "png", masks=True)
    given = tmp_path / "given"
    described = json.loads((given / "dataset.json").read_text())
    assert described["numTraining"] == 8 == len(list((given / "labelsTr").iterdir()))
    assert described["labels"] == {"background": 0, "ground_glass": 1}
    (split,) = json.loads((given / "splits_final.json").read_text())
    assert split == {"train": tables["train"]["id"].tolist(), "val": tables["val"]["id"].tolist()}
    assert {path.name for path in (given / "imagesTs").iterdir()} == {f"{n}_0000.png" for n in tables["test"]["id"]}


SECRETS = ("COVID", "hospital", "patient ")


@pytest.mark.parametrize("images", ["png", "arrays", "nifti", "files"])
@pytest.mark.parametrize("link", [False, True])
def test_nothing_that_is_given_of_the_test_fold_tells_a_label(tmp_path, published, images, link):
    given = tmp_path / "given"
    tables = export(given, images, published, link=link)
    folds, _ = make_folds()
    ids = tables["test"]["id"].tolist()
    assert set(tables["test"]) <= {"id", "file"}
    assert ids == sorted(ids)  # and not in the order of the split, which may be that of the classes
    hidden = [*folds["test"].rows["image_id"], *folds["test"].rows["patient_id"]]
    for path in given.rglob("*"):
        if path.is_file() and path.suffix in (".csv", ".json", ".md"):
            text = path.read_text()
            assert not [name for name in hidden if name in text], path
        if any(name in path.name for name in ids):
            assert not path.is_symlink()  # its target would name the folder of the class
            assert not any(secret.encode() in path.read_bytes() for secret in SECRETS)
        assert os.lstat(path).st_mtime == 0


def test_published_files_are_copied_or_linked_under_the_names_of_the_rows(tmp_path, published):
    tables = export(tmp_path / "given", "files", published, link=True)
    _, index = make_folds()
    for fold, linked in (("train", True), ("test", False)):
        paths = [tmp_path / "given" / name for name in tables[fold]["file"]]
        assert all(path.is_symlink() == linked for path in paths)
    row = tables["train"].iloc[0]
    number = index.index[index["image_id"] == row["image_id"]][0]
    assert (tmp_path / "given" / row["file"]).read_text() == f"picture {number}"


def test_published_files_of_volumes_are_refused_with_the_other_choices(tmp_path):
    with pytest.raises(CovbenchError, match="choose png, nifti or arrays"):
        export(tmp_path / "given", "files", masks=True)


def test_where_the_test_fold_validates_its_labels_are_not_given_as_those_of_the_validation_fold(tmp_path):
    folds, index = make_folds()
    folds["val"] = folds["test"]
    exported = list_folds("covid_ct", folds)
    export_folds(tmp_path / "given", RUN, CLASSES, exported, Source(index, Path()), "png")
    assert pd.read_csv(tmp_path / "given" / "val.csv").empty
    assert len(pd.read_csv(tmp_path / "given" / "test.csv")) == 4


def test_an_image_that_is_in_two_folds_has_two_names():
    folds, _ = make_folds()
    folds["train"] = folds["test"]
    named = {exported.name: set(exported.ids) for exported in list_folds("covid_ct", folds)}
    assert not named["train"] & named["test"]
