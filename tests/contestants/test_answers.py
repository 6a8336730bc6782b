"""What a contestant answers is taken whole or refused with everything that is wrong."""

import cv2
import nibabel
import numpy as np
import pandas as pd
import pytest

from covbench.contestants import answers
from covbench.contestants.answers import Asked, find_answers, read_answers
from covbench.contestants.export import UPRIGHT
from covbench.schema import CovbenchError

from .folds import CLASSES, LESIONS

IDS = ["a1", "b2", "c3"]


def asked(task=CLASSES, optional=("v1",), **more):
    return Asked(IDS, list(optional), ["t1"], task, (4, 6), **more)


def write(path, rows, columns=("id", "COVID", "NonCOVID")):
    table = pd.DataFrame(rows, columns=list(columns))
    table.to_parquet(path) if path.suffix == ".parquet" else table.to_csv(path, index=False)
    return path


GOOD = [("c3", 0.25, 0.75), ("a1", 1.0, 0.0), ("b2", 0.5, 0.5)]


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_probabilities_come_in_the_order_of_the_ids_whatever_the_order_of_the_rows(tmp_path, name):
    found = read_answers(write(tmp_path / name, GOOD), asked())
    assert found.ids == IDS
    np.testing.assert_allclose(found.predicted, [[1, 0], [0.5, 0.5], [0.25, 0.75]])


def test_the_validation_fold_is_read_before_the_test_fold_if_it_was_answered(tmp_path):
    found = read_answers(write(tmp_path / "p.csv", [*GOOD, ("v1", 0.1, 0.9), ("t1", 0.2, 0.8)]), asked())
    assert found.ids == ["v1", *IDS]


def test_a_validation_fold_is_answered_whole_or_not_at_all(tmp_path):
    path = write(tmp_path / "p.csv", [*GOOD, ("v1", 0.1, 0.9)])
    with pytest.raises(CovbenchError, match=r"1 ids are missing \(v2\)"):
        read_answers(path, asked(optional=("v1", "v2")))


def test_sums_that_are_a_little_off_are_made_1_and_others_refused(tmp_path):
    near = [("a1", 0.6667, 0.3334), ("b2", 0.5, 0.5), ("c3", 0.25, 0.75)]
    found = read_answers(write(tmp_path / "p.csv", near), asked())
    np.testing.assert_allclose(found.predicted.sum(axis=1), 1, rtol=1e-12)
    with pytest.raises(CovbenchError, match=r"1 rows do not add up to 1 \(row 2\)"):
        read_answers(write(tmp_path / "p.csv", [("a1", 0.6, 0.3), *near[1:]]), asked())


def test_everything_that_is_wrong_is_named_at_once_with_row_and_remedy(tmp_path):
    rows = [("a1", 0.5, 0.5), ("a1", 0.5, 0.5), ("zz", 1.5, -0.5), ("c3", 0.6, 0.6), ("v1", "", 0.4)]
    with pytest.raises(CovbenchError) as raised:
        read_answers(write(tmp_path / "p.csv", rows), asked())
    lines = str(raised.value).splitlines()
    assert all(line.startswith(str(tmp_path / "p.csv")) and "; " in line for line in lines)
    told = " | ".join(line.removeprefix(f"{tmp_path / 'p.csv'}: ").split(";")[0] for line in lines)
    assert told == (
        "1 ids are missing (b2) | 1 ids are there twice or more (a1) | 1 ids are unknown (zz) | "
        "1 rows hold no number (row 6) | 1 rows are not between 0 and 1 (row 4) | 1 rows do not add up to 1 (row 5)"
    )


def test_labels_in_place_of_probabilities_are_refused_unless_the_contestant_says_so(tmp_path):
    hard = [("a1", 1, 0), ("b2", 0, 1), ("c3", 0, 1)]
    with pytest.raises(CovbenchError, match=r"these are labels; .*answers: labels"):
        read_answers(write(tmp_path / "p.csv", hard), asked())
    named = write(tmp_path / "l.csv", [("a1", "COVID"), ("c3", "NonCOVID"), ("b2", "COVID")], ("id", "label"))
    assert read_answers(named, asked(labels_only=True)).predicted.tolist() == [[1, 0], [1, 0], [0, 1]]


def test_a_label_that_is_no_class_is_named_with_its_row(tmp_path):
    named = write(tmp_path / "l.csv", [("a1", "covid"), ("c3", "NonCOVID"), ("b2", "COVID")], ("id", "label"))
    with pytest.raises(CovbenchError, match=r"1 labels are no class \(row 2: 'covid'\); write one of COVID, NonCOVID"):
        read_answers(named, asked(labels_only=True))


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_a_missing_column_is_named(tmp_path, name):
    with pytest.raises(CovbenchError, match="NonCOVID"):
        read_answers(write(tmp_path / name, [("a1", 0.5)], ("id", "COVID")), asked())


def test_no_code_of_a_spreadsheet_or_pickle_is_run(tmp_path):
    hostile = tmp_path / "masks.npz"
    np.savez(hostile, a1=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CovbenchError, match=r"a1: cannot be read .*allow_pickle"):
        read_answers(hostile, asked(LESIONS))


MASKS = {name: np.eye(4, 6, k=number, dtype=np.uint8) for number, name in enumerate(IDS)}


def write_masks(folder, kind):
    if kind == "npz":
        np.savez(folder / "masks.npz", **MASKS)
        return folder / "masks.npz"
    (folder / "masks").mkdir()
    for name, mask in MASKS.items():
        if kind == "png":
            cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask)
        else:
            nibabel.save(nibabel.Nifti1Image(mask.T[:, :, None], UPRIGHT), folder / "masks" / f"{name}.nii.gz")
    return folder / "masks"


@pytest.mark.parametrize("kind", ["png", "nii.gz", "npz"])
def test_masks_are_read_from_pictures_slices_and_archives_alike(tmp_path, kind):
    write_masks(tmp_path, kind)
    found = read_answers(find_answers(tmp_path, LESIONS), asked(LESIONS))
    assert found.ids == IDS
    np.testing.assert_array_equal(found.predicted, [MASKS[name] for name in IDS])


def test_masks_of_another_size_or_with_unknown_classes_are_named_all_at_once(tmp_path):
    folder = write_masks(tmp_path, "png")
    cv2.imwrite(str(folder / "a1.png"), np.zeros((6, 4), np.uint8))
    cv2.imwrite(str(folder / "b2.png"), np.full((4, 6), 255, np.uint8))
    (folder / "c3.png").unlink()
    with pytest.raises(CovbenchError) as raised:
        read_answers(folder, asked(LESIONS))
    told = str(raised.value)
    assert "1 ids are missing (c3)" in told
    assert "a1: the mask has 6 x 4 pixels, the image 4 x 6" in told
    assert "mask values 255 are not declared" in told


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "UNPACKED", 1_000_000)
    np.savez_compressed(tmp_path / "masks.npz", a1=np.zeros(2_000_000, np.uint8))
    with pytest.raises(CovbenchError, match=r"unpacks to 2,000,128 bytes, more than 1,000,000"):
        read_answers(tmp_path / "masks.npz", asked(LESIONS))


def test_a_folder_without_answers_says_what_it_should_hold(tmp_path):
    with pytest.raises(CovbenchError, match=r"predictions.csv or predictions.parquet"):
        find_answers(tmp_path, CLASSES)
