"""COVID-CT's folders, lists and two tables of patients."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covbench.data.datasets.covid_ct import index
from covbench.schema import CovbenchError

COVID = ["2020.02.10.1-p6-52%0.png", "2020.02.10.1-p6-52%1.png", "2020.03.01.9-p2-7.png"]
OTHER = ["4%1.jpg", "14.png", "14%0.jpg"]


def write_raw(raw: Path, rename: str = "%") -> Path:
    for folder, names in (("CT_COVID", COVID), ("CT_NonCOVID", OTHER)):
        target = raw / "Images-processed" / folder
        target.mkdir(parents=True)
        for name in names:
            picture = Image.fromarray(np.arange(288, dtype=np.uint16).astype(np.uint8).reshape(8, 9, 4))
            picture.convert("RGB").save(target / name.replace("%", rename), format="JPEG")
    captions = {
        "File name": ["2020.02.10.1-p6-52%0.png", "2020.02.10.1-p6-52%1", None],
        "Patient ID": ["Patient 12", "Patient 12", None],
        "Captions": ["", "", "a blank row"],
    }
    pd.DataFrame(captions).to_excel(raw / "COVID-CT-MetaInfo.xlsx", sheet_name="positive_captions", index=False)
    others = {"image name": ["4%1.jpg", "14.png"], "patient id": ["crawled_patient_4", "medpix_patient_3"]}
    pd.DataFrame(others).to_csv(raw / "NonCOVID-CT-MetaInfo.csv")
    for folder, fold, names in (
        ("COVID", "train", COVID[:2]),
        ("COVID", "val", ["elsewhere.png"]),
        ("COVID", "test", COVID[2:]),
        ("NonCOVID", "train", ["4%1.jpg "]),
        ("NonCOVID", "val", ["14.png"]),
        ("NonCOVID", "test", ["elsewhere.png"]),
    ):
        (raw / "Data-split" / folder).mkdir(parents=True, exist_ok=True)
        (raw / "Data-split" / folder / f"{fold}CT_{folder}.txt").write_text("\n".join(names) + "\n")
    return raw


@pytest.mark.parametrize("sign", ["%", "_"])
def test_classes_patients_and_official_folds_are_found_whether_names_have_percent_or_underscore(tmp_path, sign):
    table = index(write_raw(tmp_path, sign)).set_index("image_id")
    expected = {
        "CT_COVID/2020.02.10.1-p6-52%0.png": ("covid", "covid Patient 12", "train", "2020.02.10.1"),
        "CT_COVID/2020.02.10.1-p6-52%1.png": ("covid", "covid Patient 12", "train", "2020.02.10.1"),
        "CT_COVID/2020.03.01.9-p2-7.png": ("covid", "covid 2020.03.01.9", "test", "2020.03.01.9"),
        "CT_NonCOVID/14%0.jpg": ("non_covid", "non_covid crawled_figure_14", "", "crawled"),
        "CT_NonCOVID/14.png": ("non_covid", "non_covid medpix_patient_3", "val", "medpix"),
        "CT_NonCOVID/4%1.jpg": ("non_covid", "non_covid crawled_patient_4", "train", "crawled"),
    }
    columns = ["label", "patient_id", "official_fold", "source"]
    found = {name: tuple(row) for name, *row in table[columns].itertuples()}
    assert found == {name.replace("%", sign): row for name, row in expected.items()}
    assert not table["excluded"].any()


def test_an_archive_that_was_not_unpacked_is_named(tmp_path):
    raw = write_raw(tmp_path)
    folder = raw / "Images-processed" / "CT_COVID"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    (raw / "Images-processed" / "CT_COVID.zip").touch()
    with pytest.raises(CovbenchError, match=r"no pictures in CT_COVID .*not unpacked"):
        index(raw)


def test_the_table_of_patients_with_covid_gives_sex_and_age_band(tmp_path):
    raw = write_raw(tmp_path)
    path = raw / "COVID-CT-MetaInfo.xlsx"
    pd.read_excel(path).assign(Gender=["M ", "M", None], Age=[61, "61", None]).to_excel(path, index=False)
    facts = index(raw).set_index("image_id")[["sex", "age_band"]]
    assert facts.loc["CT_COVID/2020.02.10.1-p6-52%0.png"].tolist() == ["M", "60-79"]
    assert facts.loc["CT_COVID/2020.02.10.1-p6-52%1.png"].tolist() == ["M", "60-79"]
    assert facts.loc["CT_NonCOVID/14.png"].tolist() == ["", ""]
