"""Frontal chest X-rays, one folder per class, each class from its own sources. No patient ids are published.

Lung_Opacity came with a later release and is not part of the study. Viral pneumonia is a paediatric collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from covbench.data.datasets._sample import write_picture
from covbench.data.index import build_index
from covbench.data.metadata import find_hosts, find_sheets, read_metadata
from covbench.data.names import fold_folder, fold_name
from covbench.data.pictures import is_picture
from covbench.schema import CLASSIFICATION, NOT_STATED, Card, Datasheet, Kaggle, Task


def name_lung_mask(path: str) -> str:
    """Name the lung mask of a picture: it has the same name in the folder masks/ beside images/."""
    folder, _, name = path.rpartition("/")
    return f"{folder.removesuffix('images')}masks/{name}" if folder.endswith("images") else ""


CARD = Card(
    title="COVID-19 Radiography Database",
    modality="xray",
    tasks=(Task("radiography", CLASSIFICATION, ("normal", "viral_pneumonia", "covid")),),
    sources=(Kaggle("tawsifurrahman/covid19-radiography-database", version=5),),
    mirror_folders=("covid19-radiography-database",),
    licence="as stated on its Kaggle page; parts CC BY-NC-SA and CC BY 4.0",
    citation=(
        "Chowdhury MEH, Rahman T, Khandakar A, et al. Can AI Help in Screening Viral and COVID-19 Pneumonia? IEEE "
        "Access 2020;8:132665-132676. Rahman T, et al. Exploring the effect of image enhancement techniques on "
        "COVID-19 detection using chest X-ray images. Computers in Biology and Medicine 2021;132:104319"
    ),
    homepage="https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database",
    patients="none",
    datasheet=Datasheet(
        label_origin=(
            "The class of the collection that the image was taken from. The database does not say how each collection "
            "decided it."
        ),
        label_source="README of the database on Kaggle",
        collection=(
            "COVID: PadChest and BIMCV, a German medical school, the Italian Society of Radiology, GitHub and others. "
            "Normal: RSNA and a collection of children. Viral pneumonia: that collection of children alone (README of "
            "the database)."
        ),
        annotation=NOT_STATED,
        biases=(
            "Each class has sources of its own. Viral pneumonia was recorded in children, COVID in adults, so age and "
            "hospital give the class away."
        ),
        limitations="No patient ids are published, so no split can keep patients apart.",
        sensitive="No names and no clinical data in the files of the database.",
    ),
    lung_mask=name_lung_mask,
)
FOLDERS = {
    "covid": "covid",
    "covid19": "covid",
    "normal": "normal",
    "viralpneumonia": "viral_pneumonia",
    "lungopacity": "lung_opacity",
}
"""Folder of a class, as fold_folder writes it -> label."""
SHEETS = "COVID-19*/*.metadata.xlsx"


def index(raw: Path) -> pd.DataFrame:
    """Build a row per picture in a class folder or its images/. The pictures in masks/ do not belong to this task."""
    sheets = find_sheets(raw, SHEETS)
    hosts = _read_sources(sheets)
    rows = []
    for path in sorted(path for path in raw.rglob("*") if is_picture(path)):
        name = path.relative_to(raw)
        folders = [fold_folder(part) for part in name.parts[:-1]]
        if "masks" in folders:
            continue
        folder = next((folder for folder in reversed(folders) if folder != "images"), "")
        label = FOLDERS.get(folder, "")
        reason = "" if label in CARD.tasks[0].classes else "class not in the study"
        rows.append(
            {
                "image_id": f"{label}/{path.name}" if label else name.as_posix(),
                "path": name.as_posix(),
                "label": label,
                "modality": CARD.modality,
                "source": hosts.get(fold_name(path.stem), ""),
                "reason": reason if label else f"its folder is no class: {name.parent.as_posix()}",
            }
        )
    return build_index(rows, raw, sheets)


def write_sample(raw: Path) -> None:
    """A picture of each class folder with its mask, and the sheet of sources of one."""
    top = raw / "COVID-19_Radiography_Dataset"
    for number, name in enumerate(("COVID", "Normal", "Viral Pneumonia", "Lung_Opacity")):
        write_picture(top / name / "images" / f"{name}-1.png", number)
        write_picture(top / name / "masks" / f"{name}-1.png", number)
    sheet = {"FILE NAME": ["COVID-1"], "FORMAT": ["PNG"], "URL": ["https://www.sirm.org/category/covid-19/"]}
    pd.DataFrame(sheet).to_excel(top / "COVID.metadata.xlsx", index=False)


def _read_sources(sheets: Sequence[Path]) -> dict[str, str]:
    """Read file stem to host, from COVID.metadata.xlsx and its siblings.

    Their columns are FILE NAME, FORMAT, SIZE and URL.
    """
    sources: dict[str, str] = {}
    for path in sheets:
        table = read_metadata(path, ("FILE NAME", "URL"))
        hosts = find_hosts(path, table["URL"])
        sources.update(zip(map(fold_name, table["FILE NAME"]), hosts, strict=True))
    return sources
