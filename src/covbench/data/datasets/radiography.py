"""Frontal chest X-rays, one folder per class, each class from its own sources. No patient ids are published.

Lung_Opacity came with a later release and is not part of the study. Viral pneumonia is a paediatric collection.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd

from covbench.data.datasets._sample import write_picture
from covbench.data.images import is_picture
from covbench.data.index import build_index
from covbench.schema import CLASSIFICATION, Card, Kaggle, Task

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
)
FOLDERS = {
    "covid": "covid",
    "covid-19": "covid",
    "normal": "normal",
    "viral pneumonia": "viral_pneumonia",
    "lung_opacity": "lung_opacity",
}


def index(raw: Path) -> pd.DataFrame:
    """Build a row per picture in a class folder or its images/. The pictures in masks/ do not belong to this task."""
    urls = _read_sources(raw)
    rows = []
    for path in sorted(path for path in raw.rglob("*") if is_picture(path)):
        folders = [part.lower() for part in path.relative_to(raw).parts[:-1]]
        label = next((FOLDERS[name] for name in reversed(folders) if name in FOLDERS), "")
        if not label or "masks" in folders:
            continue
        rows.append(
            {
                "image_id": f"{label}/{path.name}",
                "path": path.relative_to(raw).as_posix(),
                "label": label,
                "modality": CARD.modality,
                "source": urls.get(path.stem.lower(), ""),
                "reason": "" if label in CARD.tasks[0].classes else "class not in the study",
            }
        )
    return build_index(rows, raw)


def write_sample(raw: Path) -> None:
    """A picture of each class folder with its mask, and the sheet of sources of one."""
    top = raw / "COVID-19_Radiography_Dataset"
    for number, name in enumerate(("COVID", "Normal", "Viral Pneumonia", "Lung_Opacity")):
        write_picture(top / name / "images" / f"{name}-1.png", number)
        write_picture(top / name / "masks" / f"{name}-1.png", number)
    sheet = {"FILE NAME": ["COVID-1"], "FORMAT": ["PNG"], "URL": ["https://www.sirm.org/category/covid-19/"]}
    pd.DataFrame(sheet).to_excel(top / "COVID.metadata.xlsx", index=False)


def _read_sources(raw: Path) -> dict[str, str]:
    """Read file stem to host, from COVID.metadata.xlsx and its siblings if they exist.

    Their columns are FILE NAME, FORMAT, SIZE and URL.
    """
    sources: dict[str, str] = {}
    for path in raw.glob("COVID-19*/*.metadata.xlsx"):
        table = pd.read_excel(path, dtype=str).rename(columns=lambda name: str(name).strip().upper())
        if {"FILE NAME", "URL"} <= set(table.columns):
            known = table.dropna(subset=["FILE NAME", "URL"])
            hosts = [urlsplit(url.strip()).netloc.removeprefix("www.") for url in known["URL"]]
            sources.update(zip(known["FILE NAME"].str.strip().str.lower(), hosts, strict=True))
    return sources
