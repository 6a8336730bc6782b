"""CT slices cut from preprints (COVID), and from crawled articles and case archives (non-COVID).

Names contain '%' in the repository and '_' in some copies. The .png files may be JPEG inside, with or without alpha.
The authors' split lists keep patients apart.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from covbench.data.datasets._sample import write_picture
from covbench.data.index import build_index
from covbench.data.metadata import find_metadata, read_list, read_metadata
from covbench.data.names import clean_patient, fold_name
from covbench.data.patient_facts import read_facts
from covbench.data.pictures import PICTURES, is_picture
from covbench.data.raw_files import LISTED
from covbench.schema import CLASSIFICATION, Card, CovbenchError, Datasheet, GitHub, Task

CARD = Card(
    title="COVID-CT",
    modality="ct",
    tasks=(Task("covid_ct", CLASSIFICATION, ("non_covid", "covid"), positive="covid"),),
    sources=(GitHub("UCSD-AI4H/COVID-CT", "0c83254a43230de176489a9b4e3ac12e23b0df53"),),
    mirror_folders=("COVID-CT",),
    licence="none stated: copyright stays with the authors and publishers of the papers",
    citation=(
        "Yang X, He X, Zhao J, Zhang Y, Zhang S, Xie P. COVID-CT-Dataset: A CT Scan Dataset about COVID-19. "
        "arXiv:2003.13865 (2020)"
    ),
    homepage="https://github.com/UCSD-AI4H/COVID-CT",
    official_split=True,
    datasheet=Datasheet(
        label_origin=(
            "COVID: the caption of the figure that the slice was cut from. Other slices: the collection that they were "
            "taken from. Which test the patients had: not stated by the source."
        ),
        label_source="README of the repository",
        collection=(
            "COVID slices were cut from the figures of papers: medRxiv, bioRxiv, NEJM, JAMA, Lancet and others (README "
            "of the repository), 349 slices of 216 patients (arXiv:2003.13865). The other slices come from MedPix, "
            "LUNA, Radiopaedia and PubMed Central, as users of the dataset report."
        ),
        annotation=(
            "The authors read captions. A senior radiologist confirmed the use of the dataset (arXiv:2003.13865). That "
            "each label was checked is not stated."
        ),
        biases=(
            "The two classes come from different publications, so layout, compression and annotations burnt in may "
            "give the class away."
        ),
        limitations=(
            "Figures hold a few key slices, without Hounsfield units and with less resolution and grey levels than the "
            "scans (README of the repository)."
        ),
        sensitive=(
            "The table of COVID patients holds age, sex, history and severity where the papers state them "
            "(COVID-CT-MetaInfo.xlsx). No names."
        ),
    ),
)
FOLDERS = {"CT_COVID": ("covid", "COVID"), "CT_NonCOVID": ("non_covid", "NonCOVID")}
FOLDS = ("train", "val", "test")
TABLES = {
    "covid": ("COVID-CT-MetaInfo.xlsx", ("File name", "Patient ID")),
    "non_covid": ("NonCOVID-CT-MetaInfo.csv", ("image name", "patient id")),
}
"""Label -> its table of patients, and the columns of file and patient."""
FACTS = ("Gender", "Age")
"""Columns that only the table of patients with COVID-19 has."""
UNKNOWN = ("", "")

log = logging.getLogger(__name__)


def index(raw: Path) -> pd.DataFrame:
    """Build a row per slice of CT_COVID and CT_NonCOVID."""
    rows, metadata = [], []
    for folder, (label, list_name) in FOLDERS.items():
        slices = _find_slices(raw, folder)
        table = find_metadata(raw, TABLES[label][0])
        lists = {fold: find_metadata(raw, f"Data-split/{list_name}/{fold}CT_{list_name}.txt") for fold in FOLDS}
        metadata += [table, *lists.values()]
        known = read_metadata(table, TABLES[label][1], FACTS)
        patients = _find_patients(slices, known, table, label)
        facts = _find_facts(known, table)
        folds = match_folds([path.name for path in slices], {fold: read_list(path) for fold, path in lists.items()})
        for path, patient in zip(slices, patients, strict=True):
            sex, band = facts.get(_stem(path.name), UNKNOWN)
            rows.append(
                {
                    "image_id": f"{folder}/{path.name}",
                    "patient_id": f"{label} {patient}",
                    "path": path.relative_to(raw).as_posix(),
                    "label": label,
                    "modality": CARD.modality,
                    "view": "Axial",
                    "source": _paper(path.stem) if label == "covid" else patient.split("_")[0],
                    "sex": sex,
                    "age_band": band,
                    "official_fold": folds[path.name],
                }
            )
    return build_index(rows, raw, metadata)


def write_sample(raw: Path) -> None:
    """Two slices of each class, with both tables of patients and the six lists of the split."""
    for number, name in enumerate(("CT_COVID/2020.02.10.1-p6-52%0.png", "CT_COVID/2020.03.01.9-p2-7.png")):
        write_picture(raw / "Images-processed" / name, number)
    for number, name in enumerate(("CT_NonCOVID/4%1.jpg", "CT_NonCOVID/14.png"), start=2):
        write_picture(raw / "Images-processed" / name, number)
    covid = {"File name": ["2020.02.10.1-p6-52%0.png"], "Patient ID": ["Patient 12"]}
    pd.DataFrame(covid).to_excel(raw / "COVID-CT-MetaInfo.xlsx", index=False)
    others = {"image name": ["4%1.jpg"], "patient id": ["crawled_patient_4"]}
    pd.DataFrame(others).to_csv(raw / "NonCOVID-CT-MetaInfo.csv", index=False)
    listed = {("COVID", "train"): "2020.02.10.1-p6-52%0.png", ("COVID", "test"): "2020.03.01.9-p2-7.png"}
    listed |= {("NonCOVID", "train"): "4%1.jpg", ("NonCOVID", "test"): "14.png"}
    for folder in ("COVID", "NonCOVID"):
        (raw / "Data-split" / folder).mkdir(parents=True)
        for fold in FOLDS:  # a name on a list need not be there
            name = listed.get((folder, fold), "elsewhere.png")
            (raw / "Data-split" / folder / f"{fold}CT_{folder}.txt").write_text(f"{name}\n", encoding="utf-8")


def match_folds(files: Sequence[str], lists: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Find the authors' fold of each file.

    A name that is on no list is matched without its suffix if that names one file and one entry of a list. The log
    says what is matched so, what is on no list, and how many entries name no file.

    Args:
        files: names in the folder of a class.
        lists: the authors' lists of names, by fold.

    Returns:
        The fold of each file by name; empty for a file on no list.

    Raises:
        CovbenchError: a name is on the lists of two folds, or more than half of the files are on no list.
    """
    listed = _join_lists(lists)
    folds = {name: listed.pop(_key(name), "") for name in dict.fromkeys(files)}
    rest = [name for name in folds if not folds[name]]
    entries, stems = Counter(map(_stem, listed)), Counter(map(_stem, folds))
    by_stem = {_stem(key): (key, fold) for key, fold in listed.items()}
    for name in rest:
        stem = _stem(name)
        if entries[stem] == stems[stem] == 1:
            key, folds[name] = by_stem[stem]
            del listed[key]
            log.warning("%s is read as %s of the authors' %s list", name, key, folds[name])
    lost = [name for name in folds if not folds[name]]
    if lost:
        names = ", ".join(lost[:LISTED])
        log.warning("%d of %d files are on no list of the authors' split: %s", len(lost), len(folds), names)
    if 2 * len(lost) > len(folds):
        raise CovbenchError(
            f"{len(lost)} of {len(folds)} files are on no list in Data-split, such as {lost[0]}; lists and pictures "
            "are of different releases: fetch both again"
        )
    if listed:
        log.info("%d names on the lists of the authors' split have no file here", len(listed))
    return folds


def _join_lists(lists: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the fold of each key of a name."""
    folds: dict[str, str] = {}
    for fold, names in lists.items():
        for name in names:
            if (other := folds.setdefault(_key(name), fold)) != fold:
                raise CovbenchError(f"{name} is on the {other} list and on the {fold} list; take it off one of them")
    return folds


def _key(name: str) -> str:
    """Normalise a name. Copies of the repository write '_' for '%', and lists have blanks at the ends."""
    return fold_name(name).replace("%", "_")


def _stem(name: str) -> str:
    """Return the key of a name without the suffix of a picture. Names hold points: '2020.02.10.1-p6-52%0'."""
    key = _key(name)
    return next((key.removesuffix(suffix) for suffix in PICTURES if key.endswith(suffix)), key)


def _paper(stem: str) -> str:
    return re.sub(r"-p\d+-.*$", "", stem)


def _guess_patient(stem: str, label: str) -> str:
    """Guess the patient of a slice without an entry.

    The slices of a paper are one patient, and so are those of a crawled figure ('12%0', '12%1').
    """
    return _paper(stem) if label == "covid" else f"crawled_figure_{re.split('[%_]', stem)[0]}"


def _find_slices(raw: Path, folder: str) -> list[Path]:
    """Find the pictures in a class folder, whatever the case of its name."""
    wanted = fold_name(folder)
    slices = sorted(
        path
        for path in raw.rglob("*")
        if wanted in map(fold_name, path.relative_to(raw).parts[:-1])
        and is_picture(path)
        and "__MACOSX" not in path.parts
    )
    if not slices:
        archive = " (its archive is not unpacked)" if any(raw.glob(f"**/{folder}.zip")) else ""
        raise CovbenchError(f"{raw}: no pictures in {folder}{archive}; delete {raw} and its manifest and fetch again")
    other = [path for path in slices if folder not in path.parts]
    if other:
        log.warning("%d slices such as %s are read as slices of %s", len(other), other[0], folder)
    return slices


def _find_patients(slices: Sequence[Path], patients: pd.DataFrame, table: Path, label: str) -> list[str]:
    """Return the patient of each slice from the table of its class. Those without an entry are guessed and counted.

    83 file names of COVID-CT-MetaInfo.xlsx lack '.png'; one row is blank.
    """
    known: dict[str, str] = {}
    for line, name, patient, *_ in patients.itertuples():
        cleaned = clean_patient(patient)
        if name and cleaned and known.setdefault(_stem(name), cleaned) != cleaned:
            raise CovbenchError(f"{table}: line {line}: {name} is of {cleaned}, but of {known[_stem(name)]} before")
    guessed = sum(_stem(path.name) not in known for path in slices)
    if guessed:
        log.warning("%s names no patient for %d of %d slices; they are guessed", table.name, guessed, len(slices))
    return [known.get(_stem(path.name)) or _guess_patient(path.stem, label) for path in slices]


def _find_facts(patients: pd.DataFrame, table: Path) -> dict[str, tuple[str, str]]:
    """Return sex and age band of the slices that a table names, by _stem."""
    facts = read_facts(table, *(patients[name].tolist() for name in FACTS))
    stems = patients.iloc[:, 0].map(_stem)
    return dict(zip(stems, zip(facts["sex"], facts["age_band"], strict=True), strict=True))
