"""CT slices with ground glass and consolidation outlined by a radiologist.

100 slices are MedSeg's own, and 829 come from nine Radiopaedia volumes. Three forms are read: the competition's .npy
stacks with one-hot masks, the NIfTI files of medicalsegmentation.com, and the COVID-SemiSeg pictures. If there are
several, the first in this order is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.images import read_images, resize_image
from covbench.data.index import build_index, correlate_neighbours
from covbench.data.pictures import is_picture
from covbench.data.volumes import count_frames, header_orientation, is_volume, read_frames
from covbench.data.windows import HU, detect_scale
from covbench.schema import SEGMENTATION, Card, Datasheet, KaggleCompetition, Task

CLASSES = ("background", "ground_glass", "consolidation", "lungs_other")
CARD = Card(
    title="MedSeg COVID-19 CT segmentation",
    modality="ct",
    tasks=(Task("medseg_multiclass", SEGMENTATION, CLASSES, lesions=("ground_glass", "consolidation")),),
    sources=(KaggleCompetition("covid-segmentation"),),
    mirror_folders=("covid-segmentation",),
    licence="as stated in the competition's rules; COVID-SemiSeg copies: non-commercial use only",
    citation=(
        "MedSeg, Jenssen HB, Sakinis T. COVID-19 CT segmentation dataset, 2020. medicalsegmentation.com/covid19. "
        "Pictures: Fan DP, et al. Inf-Net: Automatic COVID-19 Lung Infection Segmentation from CT Images. IEEE "
        "Transactions on Medical Imaging 2020;39(8):2626-2637"
    ),
    homepage="https://www.kaggle.com/c/covid-segmentation",
    patients="inferred",
    datasheet=Datasheet(
        label_origin=(
            "A radiologist outlined ground glass, consolidation and pleural effusion in the 100 slices, and ground "
            "glass and consolidation in the volumes. How the rest of the lungs was marked could not be confirmed."
        ),
        label_source="medicalsegmentation.com/covid19",
        collection=(
            "100 axial slices of more than 40 patients with COVID-19, converted from JPEG pictures of the Italian "
            "Society of Medical and Interventional Radiology, and nine volumes of Radiopaedia "
            "(medicalsegmentation.com/covid19)."
        ),
        annotation=(
            "One radiologist. Of the 829 slices of the volumes, 373 were judged positive and outlined "
            "(medicalsegmentation.com/covid19). Qualification and years of experience: not stated by the source."
        ),
        biases="All patients have COVID-19. Nothing can be learned about other pneumonias.",
        limitations=(
            "One reader, so no agreement can be computed. The 100 slices were JPEG pictures before, so their grey "
            "levels are not those of the scans. The files of the competition do not state which slices are of one "
            "patient."
        ),
        sensitive=(
            "No names and no clinical data in the files of the competition. medicalsegmentation.com offers a table "
            "that links the 100 slices to the public cases that they are from."
        ),
    ),
)
WINDOW = (-1500.0, 500.0)
ONE_HOT = "0:ground_glass 1:consolidation 2:lungs_other 3:background"
LABELS = "1:ground_glass 2:consolidation 3:effusion"
RADIOPAEDIA_PATIENTS = 9
# Orientation of slices that do not state it: in COVID-SemiSeg the vertebra is at the right edge, the liver on top.
LYING = "LPS"
THUMBNAIL = 64


def index(raw: Path) -> pd.DataFrame:
    """Build a row per slice."""
    forms = [list(_index_stacks(raw)), list(_index_volumes(raw)), list(_index_pictures(raw))]
    used = next((form for form in forms if form), [])
    for row in (row for form in forms if form is not used for row in form):
        row["reason"] = row["reason"] or "the same slices are there in a better form"
    described = {"view": "Axial", "modality": CARD.modality}
    return build_index([{**row, **described} for form in forms for row in form], raw)


def write_sample(raw: Path) -> None:
    """A stack of two upright slices in HU with one-hot masks: two lungs, an opacity of each kind."""
    classes = np.full((2, 32, 32), 3)
    classes[:, 12:20, 4:12], classes[:, 12:20, 20:28], classes[:, 14, 22], classes[:, 16, 8] = 2, 2, 0, 1
    hounsfield = np.random.default_rng(0).normal(-500, 400, classes.shape).astype(np.float32)
    raw.mkdir(parents=True, exist_ok=True)
    np.save(raw / "images_medseg.npy", hounsfield[..., None])
    np.save(raw / "masks_medseg.npy", np.eye(4, dtype=np.int8)[classes])


def _index_stacks(raw: Path) -> Iterator[dict[str, Any]]:
    """Index images_medseg.npy (100, 512, 512, 1), images_radiopedia.npy (829, …) and their masks of four channels."""
    for name in ("medseg", "radiopedia"):
        for path in sorted(raw.rglob(f"images_{name}.npy")):
            mask = path.with_name(f"masks_{name}.npy")
            lies = LYING[:2] if mask.is_file() and _lies_on_side(mask) else ""
            patients = _split_patients(path, RADIOPAEDIA_PATIENTS) if name == "radiopedia" else None
            yield from _index_slices(raw, path, mask, ONE_HOT, lies, patients)
    for path in sorted(raw.rglob("test_images_medseg.npy")):
        yield from _index_slices(raw, path, path.with_name("none"), ONE_HOT, "", None)


def _index_volumes(raw: Path) -> Iterator[dict[str, Any]]:
    """Index tr_im.nii.gz with tr_mask.nii.gz, and rp_im/1.nii.gz with rp_msk/1.nii.gz.

    A volume of rp_im is one patient.
    """
    for path in sorted(path for path in raw.rglob("*") if is_volume(path)):
        lies = header_orientation(path) or LYING
        if path.name.lower().startswith("tr_im."):
            yield from _index_slices(raw, path, path.with_name("tr_mask" + path.name[5:]), LABELS, lies, None)
        elif path.parent.name.lower() == "rp_im":
            patients = [f"radiopaedia_{path.name.split('.')[0]}"] * count_frames(path)
            mask = path.parent.with_name("rp_msk") / path.name
            yield from _index_slices(raw, path, mask, LABELS, lies, patients)


def _index_slices(
    raw: Path, path: Path, mask: Path, mask_values: str, lies: str, patients: list[str] | None
) -> Iterator[dict[str, Any]]:
    frames, name = range(count_frames(path)), path.relative_to(raw).as_posix()
    in_hu = detect_scale(path, lies) == HU
    for frame in frames:
        yield {
            "image_id": f"{name}#{frame}",
            "patient_id": patients[frame] if patients else "",
            "path": name,
            "frame": frame,
            "mask": mask.relative_to(raw).as_posix() if mask.is_file() else "",
            "mask_values": mask_values if mask.is_file() else "",
            "source": "radiopaedia" if patients else "medseg",
            "window_low": WINDOW[0] if in_hu else np.nan,
            "window_high": WINDOW[1] if in_hu else np.nan,
            "orientation": lies,
            "reason": "" if mask.is_file() else "no mask published",
        }


def _lies_on_side(mask: Path) -> bool:
    """Return whether the marked pixels of a one-hot stack spread more from top to bottom than sideways.

    In an upright slice the lungs are side by side, so they spread more sideways.
    """
    marked = sum(
        values[..., :3].any(axis=-1).astype(np.int64) for values in read_frames(mask, range(count_frames(mask)))
    )
    return _spread(np.sum(marked, axis=1)) > _spread(np.sum(marked, axis=0))


def _spread(weights: np.ndarray) -> float:
    """Compute the standard deviation of positions with these weights, in pixels."""
    at, total = np.arange(len(weights)), max(weights.sum(), 1)
    return float(np.sqrt((weights * (at - (weights * at).sum() / total) ** 2).sum() / total))


def _split_patients(path: Path, patients: int) -> list[str]:
    """Name the patient of each slice. Volumes follow one another, and the `patients - 1` greatest jumps separate them.

    A jump is a low correlation of neighbouring slices at 64x64. The rule was tried on the 20 Zenodo volumes put one
    after another. Of 438 pairs inside a volume the lowest correlation is 0.69. Of 19 pairs between volumes the highest
    is 0.67, and that one is inside the same patient. All 19 borders are found and nothing else.
    """
    thumbnails = (resize_image(image, THUMBNAIL) for image in read_images(path, range(count_frames(path)), *WINDOW))
    jumps = correlate_neighbours(np.stack(list(thumbnails)))
    borders = np.sort(np.argsort(jumps)[: patients - 1])
    return [f"radiopaedia_{1 + np.searchsorted(borders, frame):02d}" for frame in range(len(jumps) + 1)]


def _index_pictures(raw: Path) -> Iterator[dict[str, Any]]:
    """Index COVID-SemiSeg: Imgs/<slice>.jpg and palette masks in GT/. LungInfection repeats the same slices."""
    for path in sorted(_find_pictures(raw), key=lambda path: ("Multi" not in str(path), _slice_number(path), path)):
        name, mask = path.relative_to(raw).as_posix(), path.parent.parent / "GT" / f"{path.stem}.png"
        several = path.parent.parent.name.startswith("MultiClassInfection")
        yield {
            "image_id": name,
            "path": name,
            "mask": mask.relative_to(raw).as_posix() if several else "",
            "mask_values": "1:ground_glass 2:consolidation" if several else "",
            "source": "medseg",
            "orientation": LYING[:2],
            "reason": "" if several else "the same slice is there with more classes",
        }


def _find_pictures(raw: Path) -> Iterable[Path]:
    return (path for path in raw.rglob("Imgs/*") if is_picture(path))


def _slice_number(path: Path) -> int:
    return int(path.stem) if path.stem.isdigit() else -1
