"""Duplicates of an image in disguise: candidates by perceptual hash, then correlation of pixels after alignment.

A hash says which pairs are worth looking at; whether they show the same picture is read from fine detail (ribs,
vessels, grain), since coarse anatomy looks alike in different people. docs/AUDIT.md has the measurements behind each
number here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import imagehash
import numpy as np
import pandas as pd
from PIL import Image

EXACT, NEAR, MIRRORED = KINDS = ("exact", "near", "mirrored")
DUPLICATE_COLUMNS = ["image_id", "other_id", "kind", "correlation"]

SIDE = 128
"""Pixels of a thumbnail's side."""
FINE, COARSE = 1.0, 4.0
"""Detail that is compared, pixels of a thumbnail: coarser than grain and moiré, finer than the outline of a chest."""
BITS = 256
RADIUS = 60
"""Bits by which hashes of candidates may differ. Planted duplicates: at most 48; other X-rays: 2 in 10,000 pairs."""
SAME = 0.85
"""Correlation from which two aligned images are duplicates. Planted ones: .93 and more; different patients: to .77."""
OVERLAP = 0.5
"""Share of the thumbnail on which two aligned images must both lie to be compared."""
BLANK = 2.0
"""Standard deviation, grey levels, below which a thumbnail shows nothing that could be recognised."""
BLOCK = 1024

BOXES = (
    (0.0, 0.0, 1.0, 1.0),
    *[(top, left, top + 0.95, left + 0.95) for top in (0.0, 0.025, 0.05) for left in (0.0, 0.025, 0.05)],
    (0.05, 0.05, 0.95, 0.95),
)
"""Crops of an image that are hashed: all of it, and crops of up to 5 % an edge (top, left, bottom, right as shares)."""


@dataclass(frozen=True)
class Thumbnails:
    """A dataset's usable images, small. images: uint8, (N, SIDE, SIDE); hashes: uint8, (N, len(BOXES) + 1, 32).

    The last hash is that of the mirrored image. shapes: int64, (N, 2), height and width as stored.
    """

    image_id: np.ndarray
    images: np.ndarray
    hashes: np.ndarray
    shapes: np.ndarray


def hash_crops(image: np.ndarray) -> np.ndarray:
    """256-bit perceptual hashes (Zauner 2010) of each of BOXES and of the mirrored image: uint8, (len(BOXES) + 1, 32).

    image: uint8, (SIDE, SIDE), 0-255.
    """
    whole = Image.fromarray(image)
    edges = np.round(np.array(BOXES) * SIDE).astype(int)
    crops = [whole.crop((left, top, right, bottom)) for top, left, bottom, right in edges.tolist()]
    crops.append(whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    return np.stack([np.packbits(imagehash.phash(crop, hash_size=16).hash) for crop in crops])


def find_duplicates(
    rows: pd.DataFrame, thumbnails: Thumbnails, others: pd.DataFrame, other: Thumbnails, synthetic: bool = False
) -> pd.DataFrame:
    """Duplicates between two datasets, or within one (`other is thumbnails`), each pair once: DUPLICATE_COLUMNS.

    rows, others: image_id, patient_id, frame and sha256 (schema.INDEX_COLUMNS) of the images in the order of the
    thumbnails. kind: `exact` (same sha256), `near` or `mirrored`; correlation: float64, 1 for exact. Blank images have
    no duplicates, and two slices of one patient's volume are no pair: next to each other they look alike.
    synthetic: the images show the same anatomy for every patient, so that only exact duplicates count.
    """
    within = other is thumbnails
    exact = _match_sha256(rows, _shows(thumbnails), others, _shows(other), within)
    one, two = (np.array(side, np.int64) for side in (exact["one"], exact["two"]))
    known = set(zip(one.tolist(), two.tolist(), strict=True))
    volume, other_volume = _name_volumes(rows), _name_volumes(others)
    candidates = [
        candidate
        for candidate in ([] if synthetic else find_candidates(thumbnails, other))
        if (candidate.one, candidate.two) not in known
        and not (volume[candidate.one] and volume[candidate.one] == other_volume[candidate.two])
    ]
    with ThreadPoolExecutor(2) as pool:
        measured = list(pool.map(lambda candidate: _correlate(thumbnails, other, candidate), candidates))
    near = pd.DataFrame([(c.one, c.two, c.kind) for c in candidates], columns=["one", "two", "kind"])
    near = near.assign(correlation=measured)
    near = near[near["correlation"] >= SAME].sort_values("correlation", ascending=False, kind="stable")
    table = pd.concat([exact, near.drop_duplicates(["one", "two"])]).sort_values(["one", "two"])
    return pd.DataFrame(
        {
            "image_id": thumbnails.image_id[table["one"].to_numpy(np.int64)].astype(str),
            "other_id": other.image_id[table["two"].to_numpy(np.int64)].astype(str),
            "kind": table["kind"].to_numpy(str),
            "correlation": table["correlation"].to_numpy(np.float64),
        }
    )


def _shows(thumbnails: Thumbnails) -> np.ndarray:
    """Whether each thumbnail shows anything: bool, (N,)."""
    return thumbnails.images.reshape(len(thumbnails.images), -1).std(axis=1) >= BLANK


def _match_sha256(
    rows: pd.DataFrame, shows: np.ndarray, others: pd.DataFrame, others_show: np.ndarray, within: bool
) -> pd.DataFrame:
    sides = []
    for name, table, visible in (("one", rows, shows), ("two", others, others_show)):
        positions = np.flatnonzero(visible & (table["sha256"] != "").to_numpy())
        sides.append(pd.DataFrame({name: positions, "sha256": table["sha256"].to_numpy()[positions]}))
    pairs = sides[0].merge(sides[1], on="sha256")
    pairs = pairs[pairs["one"] < pairs["two"]] if within else pairs
    return pairs[["one", "two"]].assign(kind=EXACT, correlation=1.0)


def _name_volumes(rows: pd.DataFrame) -> list[str]:
    """The patient of each slice of a volume or stack; empty for single pictures."""
    return rows["patient_id"].where(rows["frame"] >= 0, "").tolist()


@dataclass(frozen=True, order=True)
class Candidate:
    """A pair of images whose hashes are alike.

    one, two: rows of the first and of the second thumbnails. kind: near or mirrored. crop: the number in BOXES of the
    crop that looks like the whole other image. cropped: which side was cropped, `one` or `two`.
    """

    one: int
    two: int
    kind: str
    crop: int
    cropped: str


def find_candidates(thumbnails: Thumbnails, other: Thumbnails) -> list[Candidate]:
    """Pairs whose hashes differ by at most RADIUS bits, each with the crop that is most alike, in a fixed order.

    Each image, whole or mirrored, is compared with every crop of the other, in both directions. The product of the
    signs of two hashes is BITS - 2 x differing bits; blocks keep the memory at BLOCK x N.
    """
    within = other is thumbnails
    best: dict[tuple[int, int, str], tuple[int, str, int]] = {}

    def keep(key: tuple[int, int, str], distance: int, crop: int, cropped: str) -> None:
        # among crops at the same distance those of side one win, the last one first
        found = (distance, cropped, -crop if cropped == "one" else crop)
        best[key] = min(best.get(key, found), found)

    for kind in (NEAR, MIRRORED):
        for one, two, crop, distance in _match_crops(thumbnails, other, kind):
            if within and one > two:
                keep((two, one, kind), distance, crop, "one")
            elif not (within and one == two):
                keep((one, two, kind), distance, crop, "two")
        if not within:
            for two, one, crop, distance in _match_crops(other, thumbnails, kind):
                keep((one, two, kind), distance, crop, "one")
    return sorted(Candidate(*key, crop=abs(order), cropped=cropped) for key, (_, cropped, order) in best.items())


def _match_crops(thumbnails: Thumbnails, other: Thumbnails, kind: str) -> Iterator[tuple[int, int, int, int]]:
    """Row here, row there, crop of the one there, differing bits."""
    here, there = np.flatnonzero(_shows(thumbnails)), np.flatnonzero(_shows(other))
    wholes = _read_signs(thumbnails.hashes[here, -1 if kind == MIRRORED else 0])
    for crop in range(len(BOXES)):
        signs = _read_signs(other.hashes[there, crop]).T
        for top in range(0, len(here), BLOCK):
            agreement = wholes[top : top + BLOCK] @ signs
            one, two = np.nonzero(agreement >= BITS - 2 * RADIUS)
            bits = ((BITS - agreement[one, two]) / 2).astype(int)
            yield from zip(
                here[top + one].tolist(), there[two].tolist(), itertools.repeat(crop), bits.tolist(), strict=False
            )


def _read_signs(hashes: np.ndarray) -> np.ndarray:
    """uint8, (N, 32), as float32, (N, BITS), -1 or 1."""
    return np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1


def _correlate(thumbnails: Thumbnails, other: Thumbnails, candidate: Candidate) -> float:
    image, target = thumbnails.images[candidate.one], other.images[candidate.two]
    if candidate.cropped == "one":
        image, target = target, image
    return correlate_aligned(image[:, ::-1] if candidate.kind == MIRRORED else image, target, BOXES[candidate.crop])


def correlate_aligned(
    image: np.ndarray, target: np.ndarray, box: tuple[float, float, float, float] = BOXES[0]
) -> float:
    """Pearson correlation of the detail of two thumbnails, uint8, (SIDE, SIDE), once `target` is laid on `image`.

    box: the part of the target that the image is thought to show. From there an affine transform is refined by ECC
    (Evangelidis and Psarakis 2008) on detail below COARSE, and the overlap less its rim is compared. 0 where no
    alignment is found or the overlap is below OVERLAP.
    """
    image, target = np.ascontiguousarray(image), np.ascontiguousarray(target)
    top, left, bottom, right = box
    start = np.array([[right - left, 0, left * SIDE], [0, bottom - top, top * SIDE]], np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
    everywhere = np.full_like(image, 255)
    try:
        _, transform = cv2.findTransformECC(
            _keep_detail(image), _keep_detail(target), start, cv2.MOTION_AFFINE, stop, everywhere, 3
        )
    except cv2.error:
        return 0.0
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(target, transform, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(everywhere, transform, (SIDE, SIDE), flags=flags)
    inside = cv2.erode(inside, np.ones((7, 7), np.uint8), borderValue=0) == 255
    if inside.mean() < OVERLAP:
        return 0.0
    one, two = _keep_detail(image, FINE)[inside], _keep_detail(moved, FINE)[inside]
    return float(np.corrcoef(one, two)[0, 1]) if one.std() > 0 and two.std() > 0 else 0.0


def _keep_detail(image: np.ndarray, grain: float = 0.0) -> np.ndarray:
    """What is finer than COARSE and coarser than `grain` pixels: float32, (SIDE, SIDE)."""
    image = image.astype(np.float32)
    fine = cv2.GaussianBlur(image, (0, 0), grain) if grain else image
    return fine - cv2.GaussianBlur(image, (0, 0), COARSE)
