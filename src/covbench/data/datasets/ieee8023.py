"""Chest X-rays (and some CT) collected from publications and case archives, with a row per image in metadata.csv.

Two releases differ. Findings are names ('COVID-19, ARDS') until mid 2020 and paths ('Pneumonia/Viral/COVID-19') later.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd

from covbench.data.datasets._sample import write_picture
from covbench.data.index import build_index
from covbench.data.pictures import is_picture
from covbench.schema import CLASSIFICATION, Card, CovbenchError, GitHub, Task

CARD = Card(
    title="COVID-19 image data collection",
    modality="xray",
    tasks=(Task("ieee8023_xray", CLASSIFICATION, ("non_covid", "covid"), positive="covid"),),
    sources=(GitHub("ieee8023/covid-chestxray-dataset", "6a4242344473ccb5ed0d2148d8c7bfb1691e4ed8"),),
    mirror_folders=("covid-chestxray-dataset",),
    licence="per image, column `license` (mostly CC BY-NC-SA); scripts CC BY-NC-SA 4.0",
    citation=(
        "Cohen JP, Morrison P, Dao L, Roth K, Duong TQ, Ghassemi M. COVID-19 Image Data Collection: Prospective "
        "Predictions Are the Future. Journal of Machine Learning for Biomedical Imaging 2020:002. arXiv:2006.11988"
    ),
    homepage="https://github.com/ieee8023/covid-chestxray-dataset",
)
UNKNOWN_FINDINGS = ("", "todo", "unknown", "?")


def index(raw: Path) -> pd.DataFrame:
    """Build a row per line of metadata.csv, then one per file in images/ that it does not mention."""
    if not (raw / "metadata.csv").is_file():
        raise CovbenchError(f"{raw / 'metadata.csv'}: not found; delete {raw} and its manifest and fetch again")
    metadata = pd.read_csv(raw / "metadata.csv", dtype=str, keep_default_na=False)
    rows: dict[str, dict[str, str]] = {}
    for _, entry in metadata.iterrows():
        row = _read_entry(raw, entry)
        if row["path"] in rows:
            first = rows[row["path"]]["patient_id"]
            row["image_id"] += f"#{row['patient_id']}"
            row["reason"] = f"file listed again under another patient (first: {first})"
        rows[row["image_id"]] = row
    for path in sorted((raw / "images").iterdir()):
        name = f"images/{path.name}"
        if is_picture(path) and name not in rows:
            rows[name] = {"image_id": name, "path": name, "modality": CARD.modality, "reason": "not in metadata.csv"}
    return build_index(list(rows.values()), raw)


def write_sample(raw: Path) -> None:
    """A patient with COVID-19, one with SARS in the words of the later release, and a CT."""
    columns = ["patientid", "finding", "view", "modality", "folder", "filename", "url"]
    entries = [
        ("2", "COVID-19, ARDS", "PA", "X-ray", "images", "a.png", "https://www.eurorad.org/case/1"),
        ("7", "Pneumonia/Viral/SARS", "AP Supine", "X-ray", "images", "b.png", "https://radiopaedia.org/cases/2"),
        ("7", "COVID-19", "Axial", "CT", "volumes", "c.nii.gz", "https://radiopaedia.org/cases/2"),
    ]
    for number, name in enumerate(("a.png", "b.png")):
        write_picture(raw / "images" / name, number)
    pd.DataFrame(entries, columns=columns).to_csv(raw / "metadata.csv", index=False)


def _read_entry(raw: Path, entry: pd.Series) -> dict[str, str]:
    path = f"{entry['folder'].strip()}/{entry['filename'].strip()}"
    finding, view = entry["finding"].strip(), entry["view"].strip()
    modality = "ct" if entry["modality"].strip() == "CT" else "xray"
    known = finding.lower() not in UNKNOWN_FINDINGS
    return {
        "image_id": path,
        "patient_id": entry["patientid"].strip(),
        "path": path,
        "label": ("covid" if "COVID-19" in re.split(r"\s*[,/]\s*", finding) else "non_covid") if known else "",
        "modality": modality,
        "view": "" if view == "?" else view,
        "source": urlsplit(entry["url"].strip()).netloc.removeprefix("www."),
        "reason": _find_reason(modality, view, known, (raw / path).is_file()),
    }


def _find_reason(modality: str, view: str, known: bool, there: bool) -> str:
    if modality == "ct":
        return "CT, not an X-ray"
    if not view.startswith(("PA", "AP")):
        return "lateral view" if view.startswith("L") else "view unknown"
    if not known:
        return "finding unknown"
    return "" if there else "file missing"
