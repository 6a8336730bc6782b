"""metadata.csv of ieee8023 in both releases, with the anomalies that it holds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covbench.data.datasets.ieee8023 import index, read_lesions
from covbench.schema import CovbenchError

COLUMNS = ["patientid", "finding", "view", "modality", "folder", "filename", "url"]


def write_raw(raw: Path, entries: list[tuple[str, ...]], files: list[str]) -> Path:
    (raw / "images").mkdir(parents=True)
    for number, name in enumerate(files):
        Image.fromarray(np.arange(number, number + 81, dtype=np.uint8).reshape(9, 9)).save(
            raw / "images" / name, format="PNG"
        )
    table = pd.DataFrame(entries, columns=COLUMNS)
    table.insert(1, "offset", "0")  # columns come and go between releases
    table.to_csv(raw / "metadata.csv", index=False)
    return raw


def entry(patient: str, finding: str, view: str, name: str, modality: str = "X-ray", folder: str = "images"):
    return patient, finding, view, modality, folder, name, "https://www.eurorad.org/case/1"


@pytest.mark.parametrize(
    ("finding", "label"),
    [
        ("COVID-19", "covid"),
        ("COVID-19, ARDS", "covid"),
        ("Pneumonia/Viral/COVID-19", "covid"),
        ("Pneumonia/Viral/SARS", "non_covid"),
        ("No Finding", "non_covid"),
        ("Pneumonia", "non_covid"),
    ],
)
def test_findings_of_both_releases_become_two_classes(tmp_path, finding, label):
    (row,) = index(write_raw(tmp_path, [entry("311a", finding, "PA", "a.png")], ["a.png"])).to_dict("records")
    assert (row["label"], row["excluded"]) == (label, False)
    assert (row["patient_id"], row["source"], row["path"]) == ("311a", "eurorad.org", "images/a.png")


@pytest.mark.parametrize(
    ("finding", "view", "modality", "reason"),
    [
        ("COVID-19", "L", "X-ray", "lateral view"),
        ("COVID-19", "", "X-ray", "view unknown"),
        ("COVID-19", "?", "X-ray", "view unknown"),
        ("todo", "PA", "X-ray", "finding unknown"),
        ("", "AP Supine", "X-ray", "finding unknown"),
        ("COVID-19", "Axial", "CT", "CT, not an X-ray"),
    ],
)
def test_what_cannot_be_used_stays_with_its_reason(tmp_path, finding, view, modality, reason):
    rows = [entry("1", finding, view, "a.png", modality), entry("2", "COVID-19", "AP Supine", "b.PNG")]
    table = index(write_raw(tmp_path, rows, ["a.png", "b.PNG"]))
    assert table["excluded"].tolist() == [True, False]
    assert table["reason"].tolist() == [reason, ""]


def test_volumes_that_are_not_in_the_repository_are_excluded_as_ct(tmp_path):
    rows = [entry("1", "COVID-19", "Axial", "v.nii.gz", "CT", "volumes"), entry("2", "COVID-19", "PA", "a.png")]
    table = index(write_raw(tmp_path, rows, ["a.png"]))
    assert table["path"].tolist()[0] == "volumes/v.nii.gz"
    assert table["reason"].tolist()[0] == "CT, not an X-ray"


def test_a_file_listed_under_two_patients_counts_once(tmp_path):
    rows = [entry("285", "Pneumonia", "PA", "a.png"), entry("339", "Pneumonia", "PA", "a.png")]
    table = index(write_raw(tmp_path, rows, ["a.png"]))
    assert table["patient_id"].tolist() == ["285", "339"]
    assert table["excluded"].tolist() == [False, True]
    assert table["image_id"].is_unique
    assert "first: 285" in table["reason"].tolist()[1]


def test_rows_without_a_file_and_files_without_a_row_are_excluded(tmp_path):
    raw = write_raw(tmp_path, [entry("1", "COVID-19", "PA", "gone.png")], ["stray.jpg"])
    table = index(raw)
    assert dict(zip(table["path"], table["reason"], strict=True)) == {
        "images/gone.png": "file missing",
        "images/stray.jpg": "not in metadata.csv",
    }


def test_without_metadata_the_remedy_is_named(tmp_path):
    with pytest.raises(CovbenchError, match=r"metadata\.csv: not found.*fetch again"):
        index(tmp_path)


def test_sex_is_a_letter_and_age_a_band_and_what_is_not_understood_is_unknown(tmp_path, caplog):
    rows = [entry(str(number), "COVID-19", "PA", f"{number}.png") for number in range(5)]
    raw = write_raw(tmp_path, rows, [f"{number}.png" for number in range(5)])
    facts = {"sex": ["M", "female", "", "x", "F"], "age": ["40.0", "19", "", "40+", "94"]}
    pd.read_csv(raw / "metadata.csv").assign(**facts).to_csv(raw / "metadata.csv", index=False)
    table = index(raw)
    assert table["sex"].tolist() == ["M", "F", "", "", "F"]
    assert table["age_band"].tolist() == ["40-59", "0-19", "", "", "80+"]
    assert "no sex can be read of 1 rows, such as 'x'" in caplog.text
    assert "no age_band can be read of 1 rows, such as '40+'" in caplog.text


def test_a_release_without_sex_and_age_leaves_them_unknown(tmp_path):
    (row,) = index(write_raw(tmp_path, [entry("1", "COVID-19", "PA", "a.png")], ["a.png"])).to_dict("records")
    assert (row["sex"], row["age_band"]) == ("", "")


def write_lesions(raw: Path, rows: list[dict[str, object]]) -> None:
    """An X-ray a.png of 9 x 9 pixels, and annotations of another source, in the form of General Blockchain."""
    write_raw(raw, [entry("1", "COVID-19", "PA", "a.png")], ["a.png"])
    (raw / "lesions" / "masks").mkdir(parents=True)
    shared = {"Template Name": "Ground Glass Opacities", "Filename": "a.png", "Mask": "masks/one.png"}
    shared |= {"Top": 2, "Left": 4, "Width": 3, "Height": 2}
    pd.DataFrame([shared | row for row in rows]).to_csv(raw / "lesions" / "structure.csv", index=False)
    cut = np.zeros((2, 3, 4), np.uint8)
    cut[..., 3] = 255
    cut[0, :2, :2] = 255, 248
    Image.fromarray(cut).save(raw / "lesions" / "masks" / "one.png")


def test_cut_out_masks_of_lesions_lie_where_the_table_puts_them_and_other_classes_are_no_lesions(tmp_path):
    consolidation = {"Template Name": "Consolidation", "Top": 6, "Left": 0}
    write_lesions(tmp_path, [{}, consolidation, {"Template Name": "Left Lung", "Top": 0, "Left": 0}])
    expected = np.zeros((9, 9), bool)
    expected[2, 4:6] = expected[6, 0:2] = True
    assert (read_lesions(tmp_path, "images/a.png") == expected).all()
    assert read_lesions(tmp_path, "images/b.png") is None


@pytest.mark.parametrize("mask", ["masks/other.png", "", "../../metadata.csv"])
def test_an_image_with_a_lesion_whose_mask_is_not_there_has_no_mask(tmp_path, mask):
    write_lesions(tmp_path, [{}, {"Mask": mask}])
    assert read_lesions(tmp_path, "images/a.png") is None


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"Top": 8}, "one.png has 3 x 2 pixels, but .*structure.csv puts 3 x 2 pixels at 4, 8 of an image of 9 x 9"),
        ({"Width": 4}, "puts 4 x 2 pixels"),
        ({"Left": "-1"}, "Left is '-1'; expected pixels"),
        ({"Height": "2.5"}, "Height is '2.5'; expected pixels"),
    ],
)
def test_a_mask_that_does_not_fit_its_image_is_refused(tmp_path, row, words):
    write_lesions(tmp_path, [row])
    with pytest.raises(CovbenchError, match=words):
        read_lesions(tmp_path, "images/a.png")


def test_without_annotations_there_is_no_mask(tmp_path):
    assert read_lesions(tmp_path, "images/a.png") is None
