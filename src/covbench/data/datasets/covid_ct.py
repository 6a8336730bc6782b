"""CT slices cut from preprints (COVID), and from crawled articles and case archives (non-COVID).

Names contain '%' in the repository and '_' in some copies. The .png files may be JPEG inside, with or without alpha.
The authors' split lists keep patients apart.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from covbench.data.datasets._sample import write_picture
from covbench.data.index import build_index
from covbench.data.pictures import is_picture
from covbench.schema import CLASSIFICATION, Card, CovbenchError, GitHub, Task

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
)
FOLDERS = {"CT_COVID": ("covid", "COVID"), "CT_NonCOVID": ("non_covid", "NonCOVID")}
FOLDS = ("train", "val", "test")


def index(raw: Path) -> pd.DataFrame:
    """Build a row per slice of CT_COVID and CT_NonCOVID."""
    patients = {"covid": _read_covid_patients(raw), "non_covid": _read_other_patients(raw)}
    rows = []
    for folder, (label, list_name) in FOLDERS.items():
        folds = _read_folds(raw, list_name)
        for path in _find_slices(raw, folder):
            patient = patients[label].get(_key(path.stem)) or _guess_patient(path.stem, label)
            rows.append(
                {
                    "image_id": f"{folder}/{path.name}",
                    "patient_id": f"{label} {patient}",
                    "path": path.relative_to(raw).as_posix(),
                    "label": label,
                    "modality": CARD.modality,
                    "view": "Axial",
                    "source": _paper(path.stem) if label == "covid" else patient.split("_")[0],
                    "official_fold": folds.get(_key(path.name), ""),
                }
            )
    return build_index(rows, raw)


def write_sample(raw: Path) -> None:
    """Two slices of each class, with both tables of patients and one list of the split."""
    for number, name in enumerate(("CT_COVID/2020.02.10.1-p6-52%0.png", "CT_COVID/2020.03.01.9-p2-7.png")):
        write_picture(raw / "Images-processed" / name, number)
    for number, name in enumerate(("CT_NonCOVID/4%1.jpg", "CT_NonCOVID/14.png"), start=2):
        write_picture(raw / "Images-processed" / name, number)
    covid = {"File name": ["2020.02.10.1-p6-52%0.png"], "Patient ID": ["Patient 12"]}
    pd.DataFrame(covid).to_excel(raw / "COVID-CT-MetaInfo.xlsx", index=False)
    others = {"image name": ["4%1.jpg"], "patient id": ["crawled_patient_4"]}
    pd.DataFrame(others).to_csv(raw / "NonCOVID-CT-MetaInfo.csv", index=False)
    (raw / "Data-split" / "COVID").mkdir(parents=True)
    (raw / "Data-split" / "COVID" / "trainCT_COVID.txt").write_text("2020.02.10.1-p6-52%0.png\n", encoding="utf-8")


def _key(name: str) -> str:
    """Normalise a name. Copies of the repository write '_' for '%', and lists have blanks at the ends."""
    return name.strip().replace("%", "_").lower()


def _paper(stem: str) -> str:
    return re.sub(r"-p\d+-.*$", "", stem)


def _guess_patient(stem: str, label: str) -> str:
    """Guess the patient of a slice without an entry.

    The slices of a paper are one patient, and so are those of a crawled figure ('12%0', '12%1').
    """
    return _paper(stem) if label == "covid" else f"crawled_figure_{re.split('[%_]', stem)[0]}"


def _find_slices(raw: Path, folder: str) -> list[Path]:
    slices = sorted(path for path in raw.glob(f"**/{folder}/**/*") if is_picture(path) and "__MACOSX" not in path.parts)
    if not slices:
        archive = " (its archive is not unpacked)" if any(raw.glob(f"**/{folder}.zip")) else ""
        raise CovbenchError(f"{raw}: no pictures in {folder}{archive}; delete {raw} and its manifest and fetch again")
    return slices


def _read_covid_patients(raw: Path) -> dict[str, str]:
    """Read COVID-CT-MetaInfo.xlsx: file name, which lacks '.png' in 83 rows, to 'Patient 12'."""
    table = _read_table(raw, "COVID-CT-MetaInfo.xlsx").dropna(subset=["File name", "Patient ID"])
    names = [_key(str(name)).removesuffix(".png") for name in table["File name"]]
    return dict(zip(names, table["Patient ID"].astype(str).str.strip(), strict=True))


def _read_other_patients(raw: Path) -> dict[str, str]:
    """Read NonCOVID-CT-MetaInfo.csv: file name to 'crawled_patient_4' or 'medpix_patient_9'."""
    table = _read_table(raw, "NonCOVID-CT-MetaInfo.csv").dropna(subset=["image name", "patient id"])
    return {_key(Path(n).stem): str(p) for n, p in zip(table["image name"], table["patient id"], strict=True)}


def _read_table(raw: Path, name: str) -> pd.DataFrame:
    found = sorted(raw.rglob(name))
    if not found:
        raise CovbenchError(f"{raw / name}: not found; delete {raw} and its manifest and fetch again")
    return pd.read_excel(found[0]) if name.endswith(".xlsx") else pd.read_csv(found[0])


def _read_folds(raw: Path, list_name: str) -> dict[str, str]:
    """Read file name to fold, from Data-split/COVID/trainCT_COVID.txt and its five siblings."""
    folds = {}
    for fold in FOLDS:
        path = raw / "Data-split" / list_name / f"{fold}CT_{list_name}.txt"
        if path.is_file():
            names = path.read_text(encoding="utf-8").splitlines()
            folds.update({_key(name): fold for name in names if name.strip()})
    return folds
