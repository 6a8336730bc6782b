"""metadata.csv of ieee8023 in both releases, with the anomalies that it holds."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covbench.data.datasets.ieee8023 import index
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
