"""CT of 20 cases with lungs and infection outlined by radiologists, as volumes or as pictures of their slices.

Masks: 1 left lung, 2 right lung, 3 infection. Coronacases are in HU and are shown in a window of -1250 to 250 HU.
Radiopaedia cases were windowed to that range and scaled to 0-255 before publication (Ma et al. 2021).
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.datasets._sample import write_volume
from covbench.data.index import build_index
from covbench.data.pictures import is_picture
from covbench.data.volumes import count_frames, header_orientation, is_volume, match_mask, read_frames
from covbench.data.windows import DISPLAY, HU, detect_scale
from covbench.schema import SEGMENTATION, Card, Datasheet, Task, Zenodo

INFECTION = ("background", "infection")
LUNGS_TOO = ("background", "right_lung", "left_lung", "infection")
# sha256 as torch-em (MIT) checks them. The record itself states md5, which the download reads from its API.
ARCHIVES = {
    "COVID-19-CT-Seg_20cases.zip": "sha256:a5060480eff9315b069b086312dac4872777901fb80d268a5a83edd9f4e7b440",
    "Lung_and_Infection_Mask.zip": "sha256:34f5a573cb8fb53cb15abe81868395d9addf436854826a6fd6e70c2b294f19c3",
}
CARD = Card(
    title="COVID-19 CT lung and infection segmentation",
    modality="ct",
    tasks=(
        Task("zenodo_infection", SEGMENTATION, INFECTION, lesions=("infection",)),
        Task("zenodo_multiclass", SEGMENTATION, LUNGS_TOO, lesions=("infection",)),
    ),
    sources=(Zenodo("3757476", ARCHIVES),),
    mirror_folders=("zenodo-3757476", "COVID-19-CT-Seg_20cases"),
    licence="CC BY 4.0",
    citation=(
        "Ma J, Wang Y, An X, et al. Toward data-efficient learning: A benchmark for COVID-19 CT lung and infection "
        "segmentation. Medical Physics 2021;48(3):1197-1210. doi:10.5281/zenodo.3757476"
    ),
    homepage="https://zenodo.org/records/3757476",
    datasheet=Datasheet(
        label_origin="Two radiologists outlined lungs and infections, and an experienced radiologist verified them.",
        label_source="description of Zenodo record 3757476",
        collection=(
            "20 CT scans of patients with COVID-19: ten of the Coronacases Initiative and ten of Radiopaedia (README "
            "of JunMa11/COVID-19-CT-Seg-Benchmark)."
        ),
        annotation=(
            "Two radiologists, and an experienced one who verified (Zenodo record 3757476). Junior annotators drew the "
            "first outlines, the two radiologists refined them, and the years of experience were five and more than "
            "ten, as Mueller et al. 2021 report (doi:10.1016/j.imu.2021.100681)."
        ),
        biases=(
            "All patients have COVID-19. The two sources differ in scale and orientation: Radiopaedia's were windowed "
            "to 0-255 before publication."
        ),
        limitations=(
            "By the names of the files, the 20 cases are of 18 patients. Masks of the single readers are not "
            "published, so no agreement can be computed. The README of the authors' benchmark "
            "(JunMa11/COVID-19-CT-Seg-Benchmark) states CC BY-NC-SA for these scans, another licence than the "
            "record's."
        ),
        sensitive="No names and no clinical data in the volumes.",
    ),
)
WINDOW = (-1250.0, 250.0)
# Folder -> what its numbers mean, best first. Names are those of the record, then those of copies of it.
MASKS = {
    "lung_and_infection_mask": "1:left_lung 2:right_lung 3:infection",
    "infection_mask": "1:infection",
}
OTHER_MASKS = ("lung_mask",)
# Orientation of arrays without a header, found from vertebrae and liver in the Inf-Net slices of all 20 cases.
LYING = {"coronacases": "LAS", "radiopaedia": "LPS"}
# Headers of the record that are wrong. Those of the Radiopaedia volumes and of their masks run the second axis to the
# front of the patient, but it runs to the back. Two projects found the same: neuro-ml/COVID-19-Triage
# (scripts/prepare_medseg.py) turns every file by its header and then flips these images and masks once more, and
# haydengunraj/COVIDNet-CT (dataset_construction/radiopaedia_coronacases.py) turns the arrays themselves, Radiopaedia by
# swapping the axes of a slice and Coronacases by a quarter turn.
WRONG_HEADERS = {"radiopaedia": "LAS"}
SCALES = {"coronacases": HU, "radiopaedia": DISPLAY}  # as the record states them

logger = logging.getLogger(__name__)


def index(raw: Path) -> pd.DataFrame:
    """Build a row per slice that shows lung. The others are excluded."""
    files = sorted(path for path in raw.rglob("*") if is_volume(path))
    masks = {folder: {_case(path): path for path in files if _folder(path) == folder} for folder in MASKS}
    volumes = [path for path in files if _folder(path) not in (*MASKS, *OTHER_MASKS)]
    found = {path: _read_header(path) for path in volumes}
    _log_guesses(found)
    rows = [row for path in volumes for row in _index_volume(raw, path, masks, *found[path])]
    return build_index([*rows, *_index_pictures(raw)], raw)


def write_sample(raw: Path) -> None:
    """A volume of three slices: nothing, both lungs, both lungs and an infection."""
    labels = np.zeros((6, 5, 3), np.uint8)
    labels[1, 1, 1:], labels[4, 1, 1:], labels[2, 2, 2] = 1, 2, 3
    name = "coronacases_001.nii.gz"
    hounsfield = np.full((6, 5, 3), -800, np.int16)
    hounsfield[[0, -1]] = 40
    write_volume(raw / "COVID-19-CT-Seg_20cases" / name, hounsfield)
    write_volume(raw / "Lung_and_Infection_Mask" / name, labels)


def _folder(path: Path) -> str:
    return path.parent.name.lower()


def _case(path: Path) -> str:
    """Convert 'coronacases_org_001.nii' and 'coronacases_001.nii.gz' to 'coronacases_001', and Radiopaedia alike."""
    stem = re.sub(r"\.nii(\.gz)?$", "", path.name.lower())
    stem = stem.replace("_org", "").replace("covid-19-pneumonia-", "").removesuffix("-dcm")
    return re.sub(r"_+", "_", stem)


def _source(path: Path) -> str:
    """Return who published a case: 'coronacases' or 'radiopaedia'."""
    return _case(path).split("_")[0]


def _patient(case: str) -> str:
    """Return the patient of a case: 18 patients for the 20 cases.

    Radiopaedia names case, study and series ('radiopaedia_10_85902_3'), and one of its cases is one patient.
    """
    found = re.match(r"radiopaedia_(\d+)_", case)
    return f"radiopaedia_{found.group(1)}" if found else case


def _describe(case: str) -> dict[str, str]:
    return {"patient_id": _patient(case), "source": _source(Path(case)), "view": "Axial", "modality": CARD.modality}


def _index_volume(
    raw: Path, path: Path, masks: dict[str, dict[str, Path]], axes: str, scale: str
) -> Iterator[dict[str, Any]]:
    case, name = _case(path), path.relative_to(raw).as_posix()
    folder = next((folder for folder in MASKS if case in masks[folder]), "")
    frames = range(count_frames(path))
    used = _find_lung_slices(path, masks[folder][case], axes) if folder else set()
    for frame in frames:
        yield {
            "image_id": f"{name}#{frame}",
            "path": name,
            "frame": frame,
            "mask": masks[folder][case].relative_to(raw).as_posix() if folder else "",
            "mask_values": MASKS.get(folder, ""),
            "window_low": WINDOW[0] if scale == HU else np.nan,
            "window_high": WINDOW[1] if scale == HU else np.nan,
            "orientation": axes,
            "reason": "no mask published" if not folder else "" if frame in used else "shows no lung",
            **_describe(case),
        }


def _read_header(path: Path) -> tuple[str, str]:
    """Return the directions of a volume's axes, as its header states them where that is right, and its scale."""
    source, stated = _source(path), header_orientation(path)
    axes = LYING.get(source, "LPS") if stated in ("", WRONG_HEADERS.get(source)) else stated
    return axes, detect_scale(path, axes)


def _log_guesses(found: Mapping[Path, tuple[str, str]]) -> None:
    """Log how many volumes are read otherwise than their header or the record says."""
    wrong = Counter(_source(path) for path in found if header_orientation(path) == WRONG_HEADERS.get(_source(path)))
    other = Counter(
        (_source(path), scale) for path, (_, scale) in found.items() if scale != SCALES.get(_source(path), scale)
    )
    for source, count in wrong.items():
        logger.warning("zenodo: %d volumes of %s are read as %s, not as stated", count, source, LYING[source])
    for (source, scale), count in other.items():
        logger.warning("zenodo: %d volumes of %s hold %s, the record %s", count, source, scale, SCALES[source])


def _find_lung_slices(path: Path, mask: Path, axes: str) -> set[int]:
    """Return slices with lung or infection, or every slice if the mask file marks no lungs at all."""
    frames = range(count_frames(mask))
    mask_axes, flipped = match_mask(path, mask, axes)
    found = [np.unique(np.rint(values)) for values in read_frames(mask, frames, mask_axes)][:: -1 if flipped else 1]
    if not any(np.isin(values, (1, 2)).any() for values in found) or _folder(mask) == "infection_mask":
        return set(frames)
    return {frame for frame, values in enumerate(found) if values.any()}


def _index_pictures(raw: Path) -> Iterator[dict[str, Any]]:
    """Index the slices that Inf-Net's authors cut, lying on a side.

    The files are Imgs/Data-1_<case>_<slice>.jpg and grey masks in GT/.
    """
    found = [(path, re.fullmatch(r"Data-1_(.*)_(\d+)", path.stem)) for path in raw.rglob("Imgs/*") if is_picture(path)]
    named = [(_case(Path(match.group(1))), int(match.group(2)), path) for path, match in found if match]
    for case, _, path in sorted(named):
        name, mask = path.relative_to(raw).as_posix(), path.parent.parent / "GT" / f"{path.stem}.png"
        yield {
            "image_id": name,
            "path": name,
            "mask": mask.relative_to(raw).as_posix() if mask.is_file() else "",
            "mask_values": "128-255:infection" if mask.is_file() else "",
            "orientation": LYING[_source(Path(case))][:2],
            "reason": "" if mask.is_file() else "no mask published",
            **_describe(case),
        }
