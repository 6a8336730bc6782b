"""Chest X-rays (and some CT) collected from publications and case archives, with a row per image in metadata.csv.

Two releases differ. Findings are names ('COVID-19, ARDS') until mid 2020 and paths ('Pneumonia/Viral/COVID-19') later.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from covbench.data.datasets._sample import write_picture
from covbench.data.index import build_index
from covbench.data.metadata import find_hosts, read_metadata
from covbench.data.names import NOT_GIVEN, clean_patient, fold_name
from covbench.data.patient_facts import read_facts
from covbench.data.pictures import is_picture, read_picture
from covbench.schema import CLASSIFICATION, Annotations, Card, CovbenchError, Datasheet, GitHub, Task

SEGMENTATIONS = "covid-19-chest-xray-segmentations-dataset"
LESIONS = ("Ground Glass Opacities", "Consolidation")
PLACE = ("Top", "Left", "Width", "Height")
STRUCTURE = ("Template Name", "Filename", "Mask", *PLACE)
"""Columns of lesions/structure.csv: a class, an image, the cut-out mask and where it lies on the image, in pixels."""


def read_lesions(raw: Path, path: str) -> np.ndarray | None:
    """Read where an X-ray shows ground glass or consolidation, as General Blockchain's annotators drew it.

    A mask is cut out to its own size. An image has no mask if one of its lesions lacks its file, as in a part of the
    annotations.

    raw: the dataset's folder. path: of the image, relative to it.

    Returns bool, (H, W), on the grid of the image, or None. Raises CovbenchError if a mask does not fit its image.
    """
    table = raw / "lesions" / "structure.csv"
    if not table.is_file():
        return None
    rows = _read_structure(table)
    rows = rows[rows["Filename"] == PurePosixPath(path).name]
    masks = [table.parent / "masks" / PurePosixPath(name or "none").name for name in rows["Mask"]]
    if rows.empty or not all(mask.is_file() for mask in masks):
        return None
    lesions = np.zeros(read_picture(raw / path).shape, bool)
    for mask, row in zip(masks, rows.to_dict("records"), strict=True):
        top, left, height, width = (int(row[name]) for name in ("Top", "Left", "Height", "Width"))
        cut, place = read_picture(mask) > 0, lesions[top : top + height, left : left + width]
        if (cut.shape, place.shape) != ((height, width), (height, width)):
            sizes = [f"{array.shape[1]} x {array.shape[0]}" for array in (cut, lesions)]
            raise CovbenchError(
                f"{mask} has {sizes[0]} pixels, but {table} puts {width} x {height} pixels at {left}, {top} of an "
                f"image of {sizes[1]}; delete {raw} and fetch again"
            )
        place |= cut
    return lesions


@lru_cache(maxsize=1)
def _read_structure(table: Path) -> pd.DataFrame:
    """Read the lesions of structure.csv. Raises CovbenchError if a place is no whole number of pixels."""
    structure = read_metadata(table, STRUCTURE)
    rows = structure[structure["Template Name"].isin(LESIONS)]
    for name in PLACE:
        if wrong := [value for value in rows[name] if not re.fullmatch(r"\d{1,5}", value)]:
            raise CovbenchError(f"{table}: {name} is {wrong[0]!r}; expected pixels; fetch the dataset again")
    return rows


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
    annotations=Annotations(
        GitHub(f"GeneralBlockchain/{SEGMENTATIONS}", "377a49490e910a66a7f7aee1b92cdc3d5ac4bddf"),
        folder="lesions",
        mirror_folders=(SEGMENTATIONS, "extra-xray-lesion-masks"),
    ),
    lesion_mask=read_lesions,
    homepage="https://github.com/ieee8023/covid-chestxray-dataset",
    datasheet=Datasheet(
        label_origin=(
            "The finding that the publication or case report of the image states. The column `RT_PCR_positive` of "
            "metadata.csv says whether RT-PCR confirmed it: Y, Unclear or empty."
        ),
        label_source="SCHEMA.md and metadata.csv of the repository; arXiv:2006.11988",
        collection=(
            "Images were taken from publications, from Radiopaedia, Eurorad and the Italian Society of Radiology, and "
            "from contributors, with the address of each source (README.md of the repository)."
        ),
        annotation=(
            "The collectors copied finding, view and clinical notes from the sources (SCHEMA.md). General Blockchain "
            "published masks of lesions, lungs and devices for 100 of the X-rays (CC BY 4.0)."
        ),
        biases=(
            "Publications show remarkable cases. Each source has its own classes and its own way to store images, so "
            "the source may give the class away."
        ),
        limitations=(
            "Most images show COVID, and few show no finding. Many are JPEG or PNG copies of figures without their "
            "grey levels."
        ),
        sensitive=(
            "metadata.csv holds age, sex, survival, intensive care, laboratory values, place and clinical notes as "
            "published (SCHEMA.md). No names."
        ),
    ),
)
COLUMNS = ("patientid", "finding", "view", "modality", "folder", "filename", "url")
FACTS = ("sex", "age")
# Every finding of both releases, in parts: 'Pneumonia/Viral/COVID-19', 'COVID-19, ARDS'. Read at the pinned commit and
# at commit 584034a of June 2020.
COVID, NO_FINDING = "covid-19", "no finding"
BACTERIA = {"chlamydophila", "e.coli", "klebsiella", "legionella", "mrsa", "mycoplasma", "nocardia", "staphylococcus"}
OTHER_GERMS = {"aspergillosis", "h1n1", "herpes", "influenza", "mers-cov", "pneumocystis", "sars", "varicella"}
OTHER_FINDINGS = {
    *BACTERIA,
    *OTHER_GERMS,
    *("streptococcus", "tuberculosis", "mycoplasma bacterial pneumonia"),
    *("pneumonia", "bacterial", "fungal", "viral", "lipoid", "aspiration", "ards", NO_FINDING),
}
SHOWN = 80  # characters of a finding in a reason
MODALITIES = {"x-ray": "xray", "ct": "ct"}


def index(raw: Path) -> pd.DataFrame:
    """Build a row per line of metadata.csv, then one per file in images/ that it does not mention."""
    table = raw / "metadata.csv"
    for needed in (table, raw / "images"):
        if not needed.exists():
            raise CovbenchError(f"{needed}: not found; delete {raw} and its manifest and fetch again")
    metadata = read_metadata(table, COLUMNS, FACTS)
    hosts = find_hosts(table, metadata["url"])
    facts = read_facts(table, metadata["sex"].tolist(), metadata["age"].tolist())
    entries = metadata.assign(host=hosts, **facts).to_dict("records")
    rows = _mark_repeats([_read_entry(raw, entry) for entry in entries])
    known = {row["path"] for row in rows}
    for path in sorted((raw / "images").iterdir()):
        name = f"images/{path.name}"
        if is_picture(path) and name not in known:
            rows.append({"image_id": name, "path": name, "modality": CARD.modality, "reason": "not in metadata.csv"})
    return build_index(rows, raw, [table])


def write_sample(raw: Path) -> None:
    """A patient with COVID-19, one with SARS in the words of the later release, and a CT."""
    other = "https://radiopaedia.org/cases/2"
    entries = [
        ("2", "COVID-19, ARDS", "PA", "X-ray", "images", "a.png", "https://www.eurorad.org/case/1", "F", "65"),
        ("7", "Pneumonia/Viral/SARS", "AP Supine", "X-ray", "images", "b.png", other, "", ""),
        ("7", "COVID-19", "Axial", "CT", "volumes", "c.nii.gz", other, "M", "40"),
    ]
    for number, name in enumerate(("a.png", "b.png")):
        write_picture(raw / "images" / name, number)
    pd.DataFrame(entries, columns=[*COLUMNS, *FACTS]).to_csv(raw / "metadata.csv", index=False)


def read_finding(finding: str) -> tuple[str, str]:
    """Return the label of a finding, and the reason if it has none.

    A finding is known if each of its parts is. 'COVID-19?' and 'COVID-19 (suspected)' are not, so they have no label.
    """
    if fold_name(finding) in NOT_GIVEN:
        return "", "finding unknown"
    parts = {fold_name(part) for part in re.split(r"[,;/]", finding)}
    if not parts <= OTHER_FINDINGS | {COVID} or (NO_FINDING in parts and len(parts) > 1):
        return "", f"finding not understood: {' '.join(finding.split())[:SHOWN]}"
    return "covid" if COVID in parts else "non_covid", ""


def _read_entry(raw: Path, entry: Mapping[Hashable, str]) -> dict[str, str]:
    path = PurePosixPath(entry["folder"], entry["filename"]).as_posix()
    view, modality = entry["view"], MODALITIES.get(fold_name(entry["modality"]), "")
    label, reason = read_finding(entry["finding"])
    there = os.path.isfile(raw / path)
    return {
        "image_id": path,
        "patient_id": clean_patient(entry["patientid"]),
        "path": path,
        "label": label,
        "modality": modality or CARD.modality,
        "view": "" if view == "?" else view,
        "source": entry["host"],
        "sex": entry["sex"],
        "age_band": entry["age_band"],
        "reason": _judge_picture(modality, view) or reason or ("" if there else "file missing"),
    }


def _judge_picture(modality: str, view: str) -> str:
    """Return why a picture is no frontal X-ray; empty if it is one."""
    if modality != CARD.modality:
        return "CT, not an X-ray" if modality else "modality unknown"
    words = fold_name(view).split()
    if words[:1] in (["pa"], ["ap"]) and not {"l", "lateral"} & {*words}:
        return ""
    return "lateral view" if words[:1] in (["l"], ["lateral"]) else "view unknown"


def _mark_repeats(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Keep the first row of a file that is listed again. If its labels differ, none of its rows can be used."""
    first: dict[str, dict[str, str]] = {}
    for number, row in enumerate(rows):
        known = first.setdefault(row["path"], row)
        if known is row:
            continue
        row["image_id"] += f"#{row['patient_id']}"
        if any(row["image_id"] == earlier["image_id"] for earlier in rows[:number]):
            row["image_id"] += f"#{number}"
        if row["label"] != known["label"]:
            known["reason"] = row["reason"] = "file listed with two findings of different classes"
        elif row["patient_id"] == known["patient_id"]:
            row["reason"] = "file listed again"
        else:
            row["reason"] = f"file listed again under another patient (first: {known['patient_id']})"
    return list(rows)
