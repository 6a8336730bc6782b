"""CT slices from hospitals in São Paulo, one folder per class.

No patient ids are published, but slices are numbered scan by scan.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from covbench.data.datasets._sample import write_picture
from covbench.data.decoded_store import open_store
from covbench.data.fetched_files import read_indexed
from covbench.data.images import resize_image
from covbench.data.index import build_index, correlate_neighbours
from covbench.data.names import fold_folder
from covbench.data.pictures import is_picture
from covbench.schema import CLASSIFICATION, NOT_STATED, Card, CovbenchError, Datasheet, Kaggle, Task

CARD = Card(
    title="SARS-CoV-2 CT-scan dataset",
    modality="ct",
    tasks=(Task("sarscov2_ct", CLASSIFICATION, ("non_covid", "covid"), positive="covid"),),
    sources=(Kaggle("plameneduardo/sarscov2-ctscan-dataset", version=2),),
    mirror_folders=("sarscov2-ctscan-dataset",),
    licence="CC BY-NC-SA 4.0",
    citation=(
        "Soares E, Angelov P, Biaso S, Froes MH, Abe DK. SARS-CoV-2 CT-scan dataset: A large dataset of real patients "
        "CT scans for SARS-CoV-2 identification. medRxiv 2020.04.24.20078584"
    ),
    homepage="https://www.kaggle.com/datasets/plameneduardo/sarscov2-ctscan-dataset",
    patients="inferred",
    datasheet=Datasheet(
        label_origin=(
            "The preprint calls the scans positive for an infection with SARS-CoV-2, or of patients who are not "
            "infected. Which test decided this: not stated by the source."
        ),
        label_source="medRxiv 2020.04.24.20078584, abstract",
        collection="Scans of patients of hospitals in São Paulo, Brazil (medRxiv 2020.04.24.20078584).",
        annotation=NOT_STATED,
        biases=(
            "The two classes differ in how their files were stored. Only COVID files are RGB, about a third of them; "
            "all others are RGBA (counted in the Kaggle dataset, version 2)."
        ),
        limitations="Single slices without patient ids. Neighbouring slices of one scan show nearly the same picture.",
        sensitive="No names. The hospitals left out what else is known of each patient (medRxiv 2020.04.24.20078584).",
    ),
)
FOLDERS = {"covid": "covid", "noncovid": "non_covid"}
"""Folder of a class, as fold_folder writes it -> label."""
SAME_SCAN = 0.5
THUMBNAIL = 64


def index(raw: Path) -> pd.DataFrame:
    """Build a row per slice. patient_id is the run of similar neighbours that the slice belongs to."""
    rows = [_describe(raw, path) for path in raw.rglob("*") if is_picture(path)]
    labels = ("covid", "non_covid", "")
    rows.sort(key=lambda row: (labels.index(row["label"]), _number(row["path"]), row["path"]))
    table = build_index(rows, raw)
    for label in FOLDERS.values():
        here = table["label"] == label
        if not here.any():
            raise CovbenchError(f"{raw}: no pictures of {label}; delete {raw} and its manifest and fetch again")
        table.loc[here, "patient_id"] = _name_runs(table[here], raw, label)
    return table


def write_sample(raw: Path) -> None:
    """Three slices of each class, numbered, and one under a foreign name."""
    for number in (1, 2, 4):
        write_picture(raw / "COVID" / f"Covid ({number}).png", number)
        write_picture(raw / "non-COVID" / f"Non-Covid ({number}).png", 10 + number)
    write_picture(raw / "non-COVID" / "Normal case (1).png", 20)


def _describe(raw: Path, path: Path) -> dict[str, str]:
    """Describe a picture. Names other than 'Covid (12).png' or 'Non-Covid (12).png' are foreign."""
    name = path.relative_to(raw)
    label = FOLDERS.get(fold_folder(path.parent.name), "")
    reason = "" if _number(name.as_posix()) else "name is not of this dataset"
    return {
        "image_id": f"{label}/{path.name}" if label else name.as_posix(),
        "path": name.as_posix(),
        "label": label,
        "modality": CARD.modality,
        "view": "Axial",
        "reason": reason if label else f"its folder is no class: {name.parent.as_posix()}",
    }


def _number(path: str) -> int:
    """Return the number of a slice whose name fits its folder, 'non-COVID/Non-Covid (12).png'; 0 for other names."""
    folder, found = Path(path).parent.name, re.fullmatch(r"(.+?) ?\((\d+)\)", Path(path).stem)
    return int(found.group(2)) if found and fold_folder(found.group(1)) == fold_folder(folder) else 0


def _name_runs(table: pd.DataFrame, raw: Path, label: str) -> list[str]:
    """Name runs, such as 'covid_run_012'. A run ends where a number is missing or a slice differs from the one before.

    Two slices differ if their correlation is below 0.5 at 64x64 pixels. The 180 pairs of neighbours among the first 91
    slices of each class were looked at one by one. Eight of them show another patient: six lie below 0.48, the others
    at 0.55 and 0.61. Of the 172 that show the same patient, one lies below 0.5 (the dome of the liver), three up to
    0.55, and 95 % above 0.67.

    The threshold errs towards larger groups, because a run that is cut too often lets one patient into two folds. The
    perceptual hash separates worse: the eight have distances of 20 to 34, and fourteen of the others reach 20.
    """
    numbers = [_number(path) for path in table["path"]]
    with open_store(raw) as store:
        pictures = (picture for row in range(len(table)) for picture in read_indexed(table.iloc[[row]], raw, store))
        grey = [resize_image(picture, THUMBNAIL) for picture in pictures]
    alike = correlate_neighbours(np.stack(grey)) >= SAME_SCAN
    goes_on = alike & (np.diff(numbers) == 1)
    runs = np.concatenate([[1], 1 + np.cumsum(~goes_on)])
    return [f"{label}_run_{run:03d}" for run in runs]
