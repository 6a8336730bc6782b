"""The radiography database's class folders in its current and its first release."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from covbench.data.datasets.radiography import index


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(243, dtype=np.uint8).reshape(9, 9, 3)).save(path)


def test_class_folders_give_labels_masks_are_ignored_and_lung_opacity_is_excluded(tmp_path):
    top = tmp_path / "COVID-19_Radiography_Dataset"
    for name in ("COVID", "Normal", "Viral Pneumonia", "Lung_Opacity"):
        save(top / name / "images" / f"{name}-1.png")
        save(top / name / "masks" / f"{name}-1.png")
    table = index(tmp_path)
    assert dict(zip(table["label"], table["reason"], strict=True)) == {
        "covid": "",
        "lung_opacity": "class not in the study",
        "normal": "",
        "viral_pneumonia": "",
    }
    assert not table["path"].str.contains("masks").any()
    assert table["patient_id"].equals(table["image_id"])


def test_the_first_releases_folders_without_images_are_read_too(tmp_path):
    save(tmp_path / "COVID-19 Radiography Database" / "NORMAL" / "NORMAL (1).png")
    assert index(tmp_path)["label"].tolist() == ["normal"]


def test_sources_come_from_the_metadata_sheets(tmp_path):
    top = tmp_path / "COVID-19_Radiography_Dataset"
    for number in (1, 2):
        save(top / "COVID" / "images" / f"COVID-{number}.png")
    sheet = {"FILE NAME": ["COVID-1"], "FORMAT": ["PNG"], "URL": ["https://www.sirm.org/category/covid-19/"]}
    pd.DataFrame(sheet).to_excel(top / "COVID.metadata.xlsx", index=False)
    assert index(tmp_path)["source"].tolist() == ["sirm.org", ""]
