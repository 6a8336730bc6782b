"""Synthetic chest CT: volumes in Hounsfield units with masks of lungs and lesions, and patients of three classes.

Other pneumonia is one consolidated lobe. COVID is ground glass in several places at the pleura. One volume is filed
twice under two patients, and one volume begins with a slice that shows nothing.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy

from covbench.data.datasets._phantom import (
    Pose,
    coordinates,
    draw_pose,
    inside,
    radius,
    segment,
    smooth_noise,
    vessels,
)
from covbench.data.index import build_index
from covbench.data.volumes import read_frames
from covbench.schema import CLASSIFICATION, SEGMENTATION, Card, Datasheet, Synthetic, Task

SIZE = 128
SEED = 20261
PATIENTS = 48
BLANK = 7  # the volume that begins with a slice of air
TWICE = 11  # the volume that is filed again under another patient
CLASSES = ("normal", "other_pneumonia", "covid")
PIXEL_MM = 2.7
SLICE_MM = 15.0
WINDOW = (-1250.0, 250.0)  # lung window, HU, as the Zenodo volumes are shown

AIR, FAT, MUSCLE, VESSEL, BONE = -1000.0, -100.0, 45.0, -40.0, 420.0  # HU


@dataclass(frozen=True)
class Lesion:
    """A region where air gives way to tissue.

    centre, axes: centre and half axes in half widths of the image.
    level: height in the chest, 0-1.
    reach: half height, in the unit of `level`.
    density: HU.
    """

    centre: tuple[float, float]
    axes: tuple[float, float]
    level: float
    reach: float
    density: float


@dataclass(frozen=True)
class Patient:
    """A chest, with lengths in half widths of the image, and densities and noise in HU.

    lobe: side of the consolidated lobe, 0 for none.
    sagging: density that gravity adds at the back of the lungs, and where that begins, from 0 in the middle to 1 at the
        very back.
    """

    name: str
    finding: str
    axes: tuple[float, float]
    fat: float
    lung: tuple[float, float]
    air: float
    sagging: tuple[float, float]
    noise: float
    lesions: tuple[Lesion, ...]
    lobe: int
    fissure: float
    density: float
    seed: int


def draw_lesions(rng: np.random.Generator, lung: tuple[float, float]) -> tuple[Lesion, ...]:
    """Draw ground glass at the pleura of both lungs, spread so that every slice meets some."""
    lesions = []
    for side in (-1, 1):
        for level in np.linspace(0.0, 1.0, 4) + rng.uniform(-0.08, 0.08, 4):
            around = rng.uniform(-0.7, 1.3)
            centre = (
                side * (0.42 + 0.80 * lung[0] * np.cos(around)),
                0.01 + 0.80 * lung[1] * np.sin(around),
            )
            axes = (rng.uniform(0.11, 0.19), rng.uniform(0.13, 0.24))
            lesions.append(Lesion(centre, axes, level, rng.uniform(0.22, 0.34), rng.uniform(-560.0, -300.0)))
    return tuple(lesions)


def draw_patient(rng: np.random.Generator, number: int) -> Patient:
    """Draw a random patient; the classes take turns."""
    finding = CLASSES[number % 3]
    lung = (rng.uniform(0.24, 0.33), rng.uniform(0.39, 0.50))
    return Patient(
        name=f"ct{number:02d}",
        finding=finding,
        axes=(rng.uniform(0.86, 0.93), rng.uniform(0.63, 0.70)),
        fat=rng.uniform(0.02, 0.12),
        lung=lung,
        air=rng.uniform(-890.0, -760.0),
        sagging=(rng.uniform(60.0, 400.0), rng.uniform(0.50, 0.85)),
        noise=rng.uniform(12.0, 40.0),
        lesions=draw_lesions(rng, lung) if finding == "covid" else (),
        lobe=int(rng.choice((-1, 1))) if finding == "other_pneumonia" else 0,
        fissure=rng.uniform(-0.02, 0.12),
        density=rng.uniform(-60.0, 20.0),
        seed=int(rng.integers(2**31)),
    )


def draw_body(patient: Patient, level: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw a slice of the body without lungs, from skin to bone.

    Args:
        patient: the chest.
        level: height of the slice, from 0 (top) to 1 (bottom).
        x: float64, (SIZE, SIZE), as coordinates returns it.
        y: float64, (SIZE, SIZE), as coordinates returns it.

    Returns:
        HU: float64, (SIZE, SIZE).
    """
    wide, deep = patient.axes
    skin = radius(x, y, (0.0, 0.0), (wide, deep))
    image = np.full_like(x, AIR)
    image += (FAT - AIR) * inside(skin - 1.0, 0.02)
    image += (MUSCLE - FAT) * inside(skin - 1.0 + patient.fat / deep, 0.03)
    image = np.where(np.abs(y - deep - 0.10 - 0.08 * x**2) < 0.02, -250.0, image)
    for turn in np.arange(12) * (2 * np.pi / 12) + 0.5 * level:
        centre = (0.76 * np.cos(turn), 0.55 * np.sin(turn))
        rib = radius(x, y, centre, (0.10, 0.028), turn + np.pi / 2)
        image += (BONE - 150 - MUSCLE) * inside(rib - 1.0, 0.25)
    body = radius(x, y, (0.0, 0.34), (0.11, 0.085))
    arch = np.maximum(segment(x, y, (0.0, 0.46), (0.0, 0.58), 0.02), segment(x, y, (-0.18, 0.48), (0.18, 0.48), 0.02))
    image += (BONE - 170 - MUSCLE) * inside(body - 1.0, 0.12) + 130.0 * np.exp(-(((body - 1.0) / 0.12) ** 2))
    image += (BONE - MUSCLE) * arch
    return image + 200.0 * inside(radius(x, y, (0.0, -deep + patient.fat + 0.06), (0.09, 0.03)) - 1.0, 0.2)


def find_lungs(patient: Patient, level: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Mark the lungs in a slice, lesions included.

    Args:
        patient: the chest.
        level: height of the slice, from 0 (top) to 1 (bottom).
        x: float64, (SIZE, SIZE), as coordinates returns it.
        y: float64, (SIZE, SIZE), as coordinates returns it.

    Returns:
        bool, (SIZE, SIZE).
    """
    swell = 0.78 + 0.22 * np.sin(np.pi * (0.15 + 0.75 * level))
    lungs = np.zeros(x.shape, dtype=bool)
    for side in (-1, 1):
        outline = radius(x, y, (side * 0.42, 0.01), (patient.lung[0] * swell, patient.lung[1] * swell), side * -0.10)
        lungs |= outline < 1.0
    heart = radius(x, y, (0.13, -0.16), (0.30 * level + 0.02, 0.25 * level + 0.02), 0.5)
    return lungs & (heart > 1.0) & (radius(x, y, (0.14, 0.26), (0.08, 0.08)) > 1.0)


def find_lesions(
    patient: Patient, level: float, lungs: np.ndarray, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Mark the lesions in a slice and give their density.

    Args:
        patient: the chest.
        level: height of the slice, from 0 (top) to 1 (bottom).
        lungs: bool, (SIZE, SIZE), where the lungs are.
        x: float64, (SIZE, SIZE), as coordinates returns it.
        y: float64, (SIZE, SIZE), as coordinates returns it.
        rng: the generator to draw from.

    Returns:
        Where the lesions are, bool, and their density, HU, float64, both (SIZE, SIZE).
    """
    ragged = 0.18 * smooth_noise(rng, SIZE, 3.0)
    where = np.zeros(x.shape, dtype=bool)
    density = np.full(x.shape, AIR)
    for lesion in patient.lesions:
        away = radius(x, y, lesion.centre, lesion.axes) ** 2 + ((level - lesion.level) / lesion.reach) ** 2
        found = lungs & (np.sqrt(away) + ragged < 1.0)
        density[found] = np.maximum(density[found], lesion.density)
        where |= found
    if patient.lobe:
        lobe = lungs & (patient.lobe * x > 0) & (y + 0.06 * ragged > patient.fissure + 0.35 * (0.5 - level))
        tubes = vessels(rng, x, y, (patient.lobe * 0.20, 0.02), (patient.lobe * 0.40, 0.50), 5, 0.014)
        density[lobe] = (patient.density - 650.0 * tubes)[lobe]
        where |= lobe
    return where, density


def draw_slice(patient: Patient, level: float, pose: Pose, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one axial slice with its mask, seen from the feet.

    Args:
        patient: the chest.
        level: height of the slice, from 0 (top) to 1 (bottom).
        pose: how the patient is placed in the slice.
        rng: the generator to draw from.

    Returns:
        HU, float64, and the mask, uint8 (1 lung, 2 lesion), both (SIZE, SIZE).
    """
    x, y = coordinates(SIZE, pose)
    lungs = find_lungs(patient, level, x, y)
    lesions, density = find_lesions(patient, level, lungs, x, y, rng)
    tree = np.maximum(
        vessels(rng, x, y, (-0.20, 0.02), (-0.46, 0.46), 11, 0.012),
        vessels(rng, x, y, (0.22, 0.04), (0.44, 0.46), 11, 0.012),
    )
    tree = np.maximum(tree, 0.8 * (smooth_noise(rng, SIZE, 1.2) > 2.4))
    back = np.clip(y / patient.lung[1], -0.5, 1.0)
    tissue = (
        patient.air
        + 60.0 * back
        + patient.sagging[0] * inside(patient.sagging[1] - back, 0.25)
        + 35.0 * smooth_noise(rng, SIZE, 3.0)
    )
    lumps = 1.0 + 0.22 * smooth_noise(rng, SIZE, 2.0)
    tissue = np.where(lesions, np.maximum(tissue, AIR + (density - AIR) * lumps), tissue)
    tissue = np.maximum(tissue, patient.air + (VESSEL - patient.air) * tree)
    image = np.where(lungs, tissue, draw_body(patient, level, x, y))
    split = 0.10 * max(0.0, level - 0.25)
    for side in (-1, 1):
        image = np.where(radius(x, y, (side * split - 0.01, 0.10), (0.045, 0.05)) < 1.0, -950.0, image)
    image = scipy.ndimage.gaussian_filter(image, 0.6) + rng.normal(0.0, patient.noise, image.shape)
    return np.clip(image, -1024, 1500), lungs.astype(np.uint8) + lesions


def draw_volume(patient: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Draw a patient's volume in HU, int16, and its mask, uint8, both (SIZE, SIZE, slices).

    Rows run to the patient's back, columns to the patient's left.
    """
    rng = np.random.default_rng(patient.seed)
    zoom = rng.uniform(0.84, 1.06)
    levels = np.linspace(0.0, 1.0, rng.integers(8, 11))
    poses = [draw_pose(rng, 0.02) for _ in levels]
    slices = [
        draw_slice(patient, level, replace(pose, zoom=zoom * pose.zoom), rng)
        for level, pose in zip(levels, poses, strict=True)
    ]
    volume = np.stack([image for image, _ in slices], axis=-1)
    return np.rint(volume).astype(np.int16), np.stack([mask for _, mask in slices], axis=-1).astype(np.uint8)


def draw(raw: Path) -> None:
    """Write `volumes/*.nii.gz`, `masks/*.nii.gz` and `patients.csv` into `raw`, with the same voxels every time."""
    rng = np.random.default_rng(SEED)
    rows = []
    for number in range(PATIENTS):
        patient = draw_patient(rng, number)
        volume, mask = draw_volume(patient)
        if number == BLANK:
            volume[..., 0], mask[..., 0] = int(AIR), 0
        for folder, voxels in (("volumes", volume), ("masks", mask)):
            (raw / folder).mkdir(parents=True, exist_ok=True)
            save_volume(raw / folder / f"{patient.name}.nii.gz", voxels)
        rows.append({"patient": patient.name, "finding": patient.finding, "slices": volume.shape[-1]})
    rows.append({**rows[TWICE], "patient": "ct90"})
    for folder in ("volumes", "masks"):
        shutil.copyfile(raw / folder / f"{rows[TWICE]['patient']}.nii.gz", raw / folder / "ct90.nii.gz")
    pd.DataFrame(rows).to_csv(raw / "patients.csv", index=False)


def save_volume(path: Path, voxels: np.ndarray) -> None:
    """Save an array (row, column, slice) as NIfTI. Rows run to the back, columns to the left, and slices downwards.

    The archive carries no time stamp, so the same voxels give the same bytes.
    """
    import nibabel as nib  # half a second that planning does without

    affine = np.diag([-PIXEL_MM, -PIXEL_MM, -SLICE_MM, 1.0])
    image = nib.Nifti1Image(voxels.transpose(1, 0, 2), affine)
    path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))


CARD = Card(
    title="Synthetic chest CT",
    modality="ct",
    tasks=(
        Task("phantom_ct", CLASSIFICATION, CLASSES),
        Task("phantom_lesions", SEGMENTATION, ("background", "lung", "lesion"), lesions=("lesion",)),
    ),
    sources=(Synthetic(draw),),
    mirror_folders=(),
    licence="CC0-1.0",
    citation="Synthetic by covbench itself: no patient was imaged.",
    datasheet=Datasheet(
        label_origin="Drawn: the code decides the class and the mask before it draws the volume.",
        label_source="src/covbench/data/datasets/phantom_ct.py",
        collection="Drawn by code, the same voxels every time.",
        annotation="The masks are the regions that were drawn.",
        biases="COVID is ground glass at the pleura, and other pneumonia is one consolidated lobe.",
        limitations="No patient was imaged. Scores say nothing about patients.",
        sensitive="No person was imaged.",
    ),
)


def index(raw: Path) -> pd.DataFrame:
    """Build a row per slice of every volume of `patients.csv`. A slice without tissue is excluded."""
    patients = pd.read_csv(raw / "patients.csv", dtype=str)
    rows = [row for patient in patients.to_dict("records") for row in _index_volume(raw, patient)]
    return build_index(rows, raw, [raw / "patients.csv"])


def _index_volume(raw: Path, patient: Mapping[Hashable, Any]) -> Iterator[dict[str, Any]]:
    path, mask = (f"{folder}/{patient['patient']}.nii.gz" for folder in ("volumes", "masks"))
    frames = range(int(patient["slices"]))
    for frame, values in zip(frames, read_frames(raw / path, frames), strict=True):
        yield {
            "image_id": f"{path}#{frame}",
            "patient_id": patient["patient"],
            "path": path,
            "frame": frame,
            "label": patient["finding"],
            "mask": mask,
            "mask_values": "1:lung 2:lesion",
            "modality": CARD.modality,
            "view": "Axial",
            "window_low": WINDOW[0],
            "window_high": WINDOW[1],
            "reason": "no tissue in the slice" if values.max() <= FAT else "",
        }
