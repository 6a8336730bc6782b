"""Find duplicates of an image, even if the image was cropped, mirrored or re-encoded.

Perceptual hashes select the pairs that are worth a closer look. Each pair is then aligned, and the correlation of its
fine detail (ribs, vessels, grain) decides, because coarse anatomy looks alike in different people.
docs/explanation/audit.md has the measurements behind each number here.
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
"""Side of a thumbnail, in pixels."""
FINE, COARSE = 1.0, 4.0
"""Scales of the detail that is compared, in pixels of a thumbnail.

Detail between them is coarser than grain and moiré, and finer than the outline of a chest.
"""
BITS = 256
RADIUS = 60
"""Bits by which the hashes of two candidates may differ.

Planted duplicates differ by at most 48 bits. In other X-rays, 2 in 10,000 pairs differ by 60 bits or less.
"""
SAME = 0.85
"""Correlation from which two aligned images are duplicates.

Planted duplicates have 0.93 or more, different patients at most 0.77.
"""
OVERLAP = 0.5
"""Smallest share of the thumbnail on which two aligned images must overlap to be compared."""
BLANK = 2.0
"""Standard deviation, in grey levels, below which a thumbnail shows nothing that could be recognised."""
BLOCK = 1024

BOXES = (
    (0.0, 0.0, 1.0, 1.0),
    *[(top, left, top + 0.95, left + 0.95) for top in (0.0, 0.025, 0.05) for left in (0.0, 0.025, 0.05)],
    (0.05, 0.05, 0.95, 0.95),
)
"""Crops that are hashed, as shares of the image in the order top, left, bottom, right.

They are the whole image, and crops of up to 5 % at an edge.
"""


@dataclass(frozen=True)
class Thumbnails:
    """A dataset's usable images as thumbnails, with their hashes.

    image_id: str, (N,).
    images: uint8, (N, SIDE, SIDE), 0-255 grey.
    hashes: uint8, (N, len(BOXES) + 1, 32). The last hash is that of the mirrored image.
    shapes: int64, (N, 2), height and width as stored, in pixels.
    """

    image_id: np.ndarray
    images: np.ndarray
    hashes: np.ndarray
    shapes: np.ndarray


def hash_crops(image: np.ndarray) -> np.ndarray:
    """Hash each of BOXES and the mirrored image with a 256-bit perceptual hash (Zauner 2010).

    image: uint8, (SIDE, SIDE), 0-255 grey. Returns uint8, (len(BOXES) + 1, 32).
    """
    whole = Image.fromarray(image)
    edges = np.round(np.array(BOXES) * SIDE).astype(int)
    crops = [whole.crop((left, top, right, bottom)) for top, left, bottom, right in edges.tolist()]
    crops.append(whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    return np.stack([np.packbits(imagehash.phash(crop, hash_size=16).hash) for crop in crops])


def find_duplicates(
    rows: pd.DataFrame, thumbnails: Thumbnails, others: pd.DataFrame, other: Thumbnails, synthetic: bool = False
) -> pd.DataFrame:
    """Find the duplicates between two datasets, or within one dataset if `other is thumbnails`.

    Blank images have no duplicates. Two slices of one patient's volume are never a pair, because neighbouring slices
    look alike.

    Args:
        rows: columns image_id, patient_id, frame and sha256 (schema.INDEX_COLUMNS) of the images of the first dataset,
            in the order of its thumbnails.
        thumbnails: thumbnails of the first dataset.
        others: the same columns for the second dataset, in the order of its thumbnails.
        other: thumbnails of the second dataset.
        synthetic: whether every patient shows the same anatomy, so that only exact duplicates count.

    Returns:
        A table with DUPLICATE_COLUMNS that holds each pair once. kind is `exact` (same sha256), `near` or `mirrored`.
        correlation is float64, and 1 for `exact`.
    """
    exact = _match_sha256(rows, _shows(thumbnails), others, _shows(other), within=other is thumbnails)
    known = set(zip(exact["one"].tolist(), exact["two"].tolist(), strict=True))
    volume, other_volume = _name_volumes(rows), _name_volumes(others)
    candidates = [
        candidate
        for candidate in ([] if synthetic else find_candidates(thumbnails, other))
        if (candidate.one, candidate.two) not in known
        and not (volume[candidate.one] and volume[candidate.one] == other_volume[candidate.two])
    ]
    near = _measure_candidates(thumbnails, other, candidates)
    table = pd.concat([exact, near.drop_duplicates(["one", "two"])]).sort_values(["one", "two"])
    return pd.DataFrame(
        {
            "image_id": thumbnails.image_id[table["one"].to_numpy(np.int64)].astype(str),
            "other_id": other.image_id[table["two"].to_numpy(np.int64)].astype(str),
            "kind": table["kind"].to_numpy(str),
            "correlation": table["correlation"].to_numpy(np.float64),
        }
    )


def _measure_candidates(thumbnails: Thumbnails, other: Thumbnails, candidates: list[Candidate]) -> pd.DataFrame:
    """Return the candidates whose correlation is at least SAME, the highest first: one, two, kind, correlation."""
    with ThreadPoolExecutor(2) as pool:
        measured = list(pool.map(lambda candidate: _correlate(thumbnails, other, candidate), candidates))
    near = pd.DataFrame([(c.one, c.two, c.kind) for c in candidates], columns=["one", "two", "kind"])
    near = near.assign(correlation=measured)
    return near[near["correlation"] >= SAME].sort_values("correlation", ascending=False, kind="stable")


def _shows(thumbnails: Thumbnails) -> np.ndarray:
    """Return whether each thumbnail shows anything: bool, (N,)."""
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
    """Return the patient of each slice of a volume or stack, and an empty name for single pictures."""
    return rows["patient_id"].where(rows["frame"] >= 0, "").tolist()


@dataclass(frozen=True, order=True)
class Candidate:
    """A pair of images whose hashes are alike.

    one, two: positions in the first and in the second thumbnails.
    kind: `near` or `mirrored`.
    crop: position in BOXES of the crop that looks like the whole other image.
    cropped: which side was cropped, `one` or `two`.
    """

    one: int
    two: int
    kind: str
    crop: int
    cropped: str


def find_candidates(thumbnails: Thumbnails, other: Thumbnails) -> list[Candidate]:
    """Find pairs whose hashes differ by at most RADIUS bits, each with the crop that is most alike, in a fixed order.

    Each image (and its mirror image) is compared with every crop of the other, in both directions. The product of the
    signs of two hashes is BITS - 2 x differing bits. Blocks keep the memory at BLOCK x N.
    """
    within = other is thumbnails
    best: dict[tuple[int, int, str], tuple[int, str, int]] = {}

    def keep(key: tuple[int, int, str], distance: int, crop: int, cropped: str) -> None:
        # at equal distance a crop of side one wins, and among these the last one
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
    """Yield the row in `thumbnails`, the row in `other`, the crop of the image in `other`, and the differing bits."""
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
    """Convert hashes, uint8, (N, 32), to signs, float32, (N, BITS), -1 or 1."""
    return np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1


def _correlate(thumbnails: Thumbnails, other: Thumbnails, candidate: Candidate) -> float:
    image, target = thumbnails.images[candidate.one], other.images[candidate.two]
    if candidate.cropped == "one":
        image, target = target, image
    return correlate_aligned(image[:, ::-1] if candidate.kind == MIRRORED else image, target, BOXES[candidate.crop])


def correlate_aligned(
    image: np.ndarray, target: np.ndarray, box: tuple[float, float, float, float] = BOXES[0]
) -> float:
    """Align `target` with `image` and correlate their fine detail.

    ECC (Evangelidis and Psarakis 2008) refines an affine transform on detail below COARSE, starting from `box`. The
    overlap without its rim is then compared.

    Args:
        image: uint8, (SIDE, SIDE), 0-255 grey.
        target: uint8, (SIDE, SIDE), 0-255 grey.
        box: the part of the target that the image is assumed to show (top, left, bottom, right as shares).

    Returns:
        Pearson correlation. It is 0 if no alignment is found or the overlap is below OVERLAP.
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
    """Keep detail that is finer than COARSE and coarser than `grain` pixels: float32, (SIDE, SIDE)."""
    image = image.astype(np.float32)
    fine = cv2.GaussianBlur(image, (0, 0), grain) if grain else image
    return fine - cv2.GaussianBlur(image, (0, 0), COARSE)
