"""Synthetic chest X-rays of four hospitals, with several images per patient and the flaws of real collections.

The flaws that a benchmark has to notice are intended. The hospitals differ in contrast, sharpness, framing and in the
share of COVID patients. One image is filed twice under two patients, and lateral views are mixed with the frontal ones.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
from PIL import Image

from covbench.data.datasets._phantom import (
    Pose,
    coordinates,
    draw_pose,
    inside,
    move,
    radius,
    segment,
    smooth_noise,
    vessels,
)
from covbench.data.index import build_index
from covbench.data.pictures import read_labels
from covbench.schema import CLASSIFICATION, Card, Datasheet, Synthetic, Task

SIZE = 160
SEED = 20260
PATIENTS = 80
LESIONS = "lesions"
VISIBLE = 0.1  # attenuation of ground glass from which on a pixel is marked: 10 grey levels


@dataclass(frozen=True)
class Hospital:
    """What distinguishes one hospital's images from another's.

    covid: share of its patients with COVID.
    gamma, blur, noise: properties of its machine; blur in pixels, noise in grey levels.
    border: black frame around the exposed field, as a share of the side.
    marker: x of the side letter, 0 for none.
    """

    name: str
    covid: float
    gamma: float
    blur: float
    noise: float
    border: float
    marker: float


HOSPITALS = (
    Hospital("north", 0.7, 1.00, 0.5, 4.0, 0.00, -0.80),
    Hospital("south", 0.3, 0.85, 0.7, 5.0, 0.04, 0.80),
    Hospital("east", 0.6, 1.20, 0.9, 3.0, 0.00, 0.00),
    Hospital("west", 0.4, 1.10, 0.6, 7.0, 0.07, -0.75),
)


@dataclass(frozen=True)
class Opacity:
    """A patch of ground glass.

    centre, axes: centre and half axes in half widths of the image.
    angle: radians.
    depth: added attenuation.
    """

    centre: tuple[float, float]
    axes: tuple[float, float]
    angle: float
    depth: float


@dataclass(frozen=True)
class Patient:
    """A chest, with lengths in half widths of the image."""

    name: str
    hospital: Hospital
    opacities: tuple[Opacity, ...]
    width: float
    apex: float
    base: float
    heart: float
    fat: float
    ribs: float
    hilum: float
    seed: int

    @property
    def finding(self) -> str:
        return "covid" if self.opacities else "normal"


def draw_opacities(rng: np.random.Generator) -> tuple[Opacity, ...]:
    """Draw patches near the chest wall on both sides, more of them low than high."""
    depth = rng.uniform(0.34, 0.64)
    patches = []
    for side in (-1, 1):
        for _ in range(rng.integers(2, 5)):
            centre = (side * rng.uniform(0.46, 0.66), rng.uniform(-0.35, 0.26))
            axes = (rng.uniform(0.09, 0.16), rng.uniform(0.11, 0.22))
            patches.append(Opacity(centre, axes, rng.uniform(-0.5, 0.5), depth * rng.uniform(0.7, 1.2)))
    return tuple(patches)


def draw_patient(rng: np.random.Generator, number: int) -> Patient:
    """Draw a random patient of one of the hospitals, ill as often as that hospital's share says."""
    hospital = HOSPITALS[number % len(HOSPITALS)]
    turn = number // len(HOSPITALS)
    ill = (turn * 7) % 10 < round(10 * hospital.covid)
    return Patient(
        name=f"P{number:03d}",
        hospital=hospital,
        opacities=draw_opacities(rng) if ill else (),
        width=rng.uniform(0.30, 0.345),
        apex=rng.uniform(-0.80, -0.70),
        base=rng.uniform(0.28, 0.42),
        heart=rng.uniform(0.85, 1.25),
        fat=rng.uniform(0.0, 0.35),
        ribs=rng.uniform(0.7, 1.2),
        hilum=rng.uniform(0.0, 0.25),
        seed=int(rng.integers(2**31)),
    )


def lung_depth(patient: Patient, side: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Compute the depth of the lung on one side along the beam.

    Args:
        patient: the chest.
        side: -1 for the left half of the image, 1 for the right half.
        x: float64, (SIZE, SIZE), as coordinates returns it.
        y: float64, (SIZE, SIZE), as coordinates returns it.

    Returns:
        float64, (SIZE, SIZE), 0-1.
    """
    outward = side * x
    height = np.clip((y - patient.apex) / (patient.base - patient.apex), 1e-3, 1.2)
    half = patient.width * np.minimum(height, 1.0) ** 0.30
    across = (outward - 0.10 - half) / half
    dome = patient.base - 0.05 * (side < 0) + 0.26 * ((outward - 0.34) / 0.36) ** 2 - 0.06
    return np.clip(1.0 - across**4, 0.0, 1.0) ** 0.5 * inside(y - dome, 0.02) * inside(patient.apex - y, 0.02)


def draw_ribs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draw posterior ribs, fainter anterior ones, and the clavicles: 0-1."""
    bones = np.zeros_like(x)
    away = np.abs(x)
    for number in range(9):
        top = -0.82 + 0.155 * number
        behind = y - (top + 0.55 * (away - 0.25) ** 2 - 0.10 * away)
        before = y - (top + 0.20 + 0.55 * (0.78 - away) ** 2 * -1.0 + 0.16)
        bones = np.maximum(bones, np.exp(-0.5 * (behind / 0.020) ** 2))
        bones = np.maximum(bones, 0.45 * np.exp(-0.5 * (before / 0.024) ** 2) * inside(0.38 - away, 0.08))
    for side in (-1, 1):
        bones = np.maximum(bones, 1.1 * segment(x, y, (side * 0.10, -0.62), (side * 0.72, -0.80), 0.028))
    return bones * inside(away - 0.80, 0.05)


def attenuation(patient: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Compute the attenuation of the beam by the body, and the part of it that is ground glass.

    Returns two arrays, float64, (SIZE, SIZE): 0 in air, about 2 behind the spine.
    """
    rng = np.random.default_rng(patient.seed)
    x, y = coordinates(SIZE, Pose())
    flank = 0.26 + 0.68 * inside(-0.80 - y, 0.12) + 0.05 * y
    body = np.sqrt(np.clip(1.0 - (x / flank) ** 2, 0.0, 1.0)) * (1.25 + patient.fat)
    lungs = np.maximum(lung_depth(patient, -1, x, y), lung_depth(patient, 1, x, y))
    heart = inside(radius(x, y, (0.13, 0.16), (0.34 * patient.heart, 0.25), 0.6) - 1.0, 0.10)
    knob = inside(radius(x, y, (0.10, -0.34), (0.085, 0.11)) - 1.0, 0.15)
    middle = np.maximum(np.maximum(heart, knob), inside(np.abs(x) - 0.10 - 0.03 * y, 0.035))
    spine = np.exp(-0.5 * (x / 0.07) ** 2) * (1.0 + 0.15 * np.sin(y * 38.0))
    air = lungs * (1.0 - 0.75 * middle)
    tree = np.maximum(
        vessels(rng, x, y, (-0.17, -0.06), (-0.42, 0.50), 12, 0.016),
        vessels(rng, x, y, (0.19, -0.10), (0.40, 0.50), 12, 0.016),
    )
    shadow = body + 0.22 * middle + 0.22 * spine + 0.18 * patient.ribs * draw_ribs(x, y) * (body > 0)
    hilum = inside(radius(np.abs(x), y, (0.20, -0.06), (0.10, 0.16)) - 1.0, 0.5)
    shadow = (
        shadow - (1.05 - patient.hilum * hilum) * air + 0.14 * tree * air + 0.035 * smooth_noise(rng, SIZE, 2.0) * air
    )
    windpipe = np.exp(-0.5 * (x / 0.035) ** 2) * inside(y + 0.42, 0.05)
    glass = draw_ground_glass(rng, patient.opacities, x, y) * air
    return shadow - 0.18 * windpipe * body + glass, glass


def draw_ground_glass(
    rng: np.random.Generator, opacities: tuple[Opacity, ...], x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Draw ground glass with ragged edges and a lumpy inside.

    Args:
        rng: the generator to draw from.
        opacities: the patches of ground glass.
        x: float64, (SIZE, SIZE), as coordinates returns it.
        y: float64, (SIZE, SIZE), as coordinates returns it.

    Returns:
        Attenuation that the patches add where there is lung: float64, (SIZE, SIZE).
    """
    haze = np.zeros_like(x)
    for patch in opacities:
        rim = radius(x, y, patch.centre, patch.axes, patch.angle) + 0.16 * smooth_noise(rng, SIZE, 4.0)
        haze = np.maximum(haze, patch.depth * inside(rim - 1.0, 0.30))
    return haze * np.clip(1.0 + 0.4 * smooth_noise(rng, SIZE, 2.0), 0.2, 2.0)


def draw_lateral(rng: np.random.Generator) -> np.ndarray:
    """Draw the attenuation of a chest seen from the side, which cannot be compared with the frontal ones."""
    x, y = coordinates(SIZE, draw_pose(rng, 0.02))
    body = np.sqrt(np.clip(1.0 - (x / (0.55 + 0.1 * y)) ** 2, 0.0, 1.0)) * 1.6
    lung = inside(radius(x, y, (0.02, -0.15), (0.42, 0.60), 0.1) - 1.0, 0.10)
    heart = inside(radius(x, y, (-0.14, 0.15), (0.25, 0.28)) - 1.0, 0.12)
    spine = np.exp(-0.5 * ((x - 0.36 + 0.1 * y) / 0.06) ** 2) * (1.0 + 0.3 * np.sin(y * 38.0))
    return body - 0.95 * lung * (1.0 - 0.6 * heart) + 0.3 * spine


def draw_electrodes(rng: np.random.Generator) -> np.ndarray:
    """Draw electrodes with their wires, which many patients wear, ill or not: 0-1, float64, (SIZE, SIZE)."""
    x, y = coordinates(SIZE, Pose())
    shown = np.zeros_like(x)
    for _ in range(3):
        centre = (rng.choice((-1, 1)) * rng.uniform(0.25, 0.65), rng.uniform(-0.45, 0.35))
        leave = (centre[0] + rng.uniform(-0.3, 0.3), 1.0)
        shown = np.maximum(shown, inside(radius(x, y, centre, (0.035, 0.035)) - 1.0, 0.3))
        shown = np.maximum(shown, 0.7 * segment(x, y, centre, leave, 0.007))
    return shown


def expose(rng: np.random.Generator, shadow: np.ndarray, hospital: Hospital) -> np.ndarray:
    """Make the picture that a hospital's machine takes of an attenuation map.

    Args:
        rng: the generator to draw from.
        shadow: float64, (SIZE, SIZE), the attenuation map.
        hospital: the hospital.

    Returns:
        uint8, (SIZE, SIZE), 0-255 grey. Dense is bright.
    """
    exposure, contrast = rng.normal(0.0, 0.05), rng.uniform(0.85, 1.15)
    light = np.clip(0.47 + exposure + contrast * 0.40 * (shadow - 0.85), 0.0, 1.0) ** hospital.gamma
    picture = scipy.ndimage.gaussian_filter(235.0 * light, hospital.blur)
    picture = picture + rng.normal(0.0, hospital.noise, picture.shape) * (0.4 + light)
    if hospital.marker:
        x, y = coordinates(SIZE, Pose())
        letter = np.maximum(
            segment(x, y, (hospital.marker, -0.90), (hospital.marker, -0.78), 0.012),
            segment(x, y, (hospital.marker, -0.78), (hospital.marker + 0.06, -0.78), 0.012),
        )
        picture = np.maximum(picture, 240.0 * letter)
    if rng.random() < 0.25:
        picture = np.maximum(picture, 225.0 * draw_electrodes(rng))
    border = round(hospital.border * SIZE * rng.uniform(0.6, 1.4))
    if border:
        framed = np.zeros_like(picture)
        framed[border:-border, border:-border] = picture[border:-border, border:-border]
        picture = framed
    return np.clip(picture, 0, 255).astype(np.uint8)


def draw(raw: Path) -> None:
    """Write `images/*.png`, `lesions/*.png` and `metadata.csv` into `raw`, with the same bytes every time."""
    rng = np.random.default_rng(SEED)
    for folder in ("images", LESIONS):
        (raw / folder).mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, str]] = []
    for number in range(PATIENTS):
        patient = draw_patient(rng, number)
        shadow, glass = attenuation(patient)
        for picture in range(rng.integers(2, 7)):
            rows.append(_row(patient, picture, "PA"))
            pose = draw_pose(rng, 0.05)
            Image.fromarray(expose(rng, move(shadow, pose), patient.hospital)).save(raw / rows[-1]["filename"])
            if patient.opacities:
                lesions = 255 * (move(glass, pose) > VISIBLE).astype(np.uint8)
                Image.fromarray(lesions).save(raw / LESIONS / Path(rows[-1]["filename"]).name)
        if number % 15 == 4:
            rows.append(_row(patient, 9, "L"))
            Image.fromarray(expose(rng, draw_lateral(rng), patient.hospital)).save(raw / rows[-1]["filename"])
    twice = rows[8]
    rows.append({**twice, "filename": "images/P900_0.png", "patient": "P900"})
    shutil.copyfile(raw / twice["filename"], raw / rows[-1]["filename"])
    pd.DataFrame(rows).to_csv(raw / "metadata.csv", index=False)


def read_lesions(raw: Path, path: str) -> np.ndarray | None:
    """Read where an image shows ground glass: bool, (SIZE, SIZE); None for a picture without any."""
    mask = raw / LESIONS / Path(path).name
    return read_labels(mask, "") > 0 if mask.is_file() else None


def _row(patient: Patient, picture: int, view: str) -> dict[str, str]:
    return {
        "filename": f"images/{patient.name}_{picture}.png",
        "patient": patient.name,
        "finding": patient.finding,
        "view": view,
        "hospital": patient.hospital.name,
    }


CARD = Card(
    title="Synthetic chest X-rays",
    modality="xray",
    tasks=(Task("phantom_xray", CLASSIFICATION, ("normal", "covid"), positive="covid"),),
    sources=(Synthetic(draw),),
    mirror_folders=(),
    licence="CC0-1.0",
    citation="Synthetic by covbench itself: no patient was imaged.",
    datasheet=Datasheet(
        label_origin="Drawn: the code decides the class before it draws the image.",
        label_source="src/covbench/data/datasets/phantom_xray.py",
        collection="Drawn by code, the same pixels every time.",
        annotation="None: the label comes before the image.",
        biases="Intended: four hospitals differ in contrast, sharpness, framing and share of COVID patients.",
        limitations="No patient was imaged. Scores say nothing about patients.",
        sensitive="No person was imaged.",
    ),
    lesion_mask=read_lesions,
)


def index(raw: Path) -> pd.DataFrame:
    """Build a row per picture of `metadata.csv`. Lateral views are excluded."""
    metadata = pd.read_csv(raw / "metadata.csv", dtype=str)
    rows = [
        {
            "image_id": Path(row["filename"]).stem,
            "patient_id": row["patient"],
            "path": row["filename"],
            "label": row["finding"],
            "modality": CARD.modality,
            "view": row["view"],
            "source": row["hospital"],
            "reason": "" if row["view"] == "PA" else "lateral view",
        }
        for row in metadata.to_dict("records")
    ]
    return build_index(rows, raw, [raw / "metadata.csv"])
