"""Find duplicates of an image, even if the image was cropped, mirrored, re-encoded or annotated.

Perceptual hashes select the pairs that are worth a closer look. Each pair is then aligned, and the correlation of its
fine detail (ribs, vessels, grain) decides, because coarse anatomy looks alike in different people. Arrows and text
spoil the correlation of the whole picture, but not that of most of its blocks. A look at half the size drops pairs of
which few parts are alike, before they are aligned.
docs/explanation/audit.md has the measurements behind each number here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
import scipy.fftpack
from PIL import Image

from covbench.audit.alignment import SIDE, WHOLE, align_detail, correlate_blocks, correlate_whole
from covbench.audit.window_search import search_windows

EXACT, NEAR, MIRRORED, ANNOTATED = KINDS = ("exact", "near", "mirrored", "annotated")
DUPLICATE_COLUMNS = ["image_id", "other_id", "kind", "correlation"]

BITS = 256
RADIUS = 60
"""Bits by which the hashes of two candidates may differ.

Planted duplicates differ by at most 48 bits. In other X-rays, 2 in 10,000 pairs differ by 60 bits or less.
"""
STROKE, SMOOTH_RADIUS = 15, 50
"""Side in pixels of the median filter that removes arrows and outlines from a thumbnail before it is hashed once more,
and the bits by which two such hashes may differ.

On X-rays, three arrows moved one in nine hashes by more than RADIUS bits, and no hash of a filtered thumbnail by more
than SMOOTH_RADIUS.
"""
ALIKE = 0.75
"""Correlation of windows, as search_windows returns it, below which a pair is not aligned.

Planted X-rays that the alignment accepts have 0.89 or more, natural pairs of X-rays and of CT slices 0.81 or more.
"""
SAME = 0.85
"""Correlation from which two aligned images are duplicates.

Planted duplicates have 0.93 or more, different patients at most 0.77.
"""
SAME_BLOCKS = 0.95
"""Median correlation of the blocks of two aligned images from which one is an annotated duplicate of the other.

Where annotations bring the whole below SAME, half of the planted duplicates have 0.99 or more. Other images have at
most 0.91.
"""
BLANK = 2.0
"""Standard deviation, in grey levels, below which a thumbnail shows nothing that could be recognised."""
BLOCK = 8
"""Rows of hashes that are compared at once, so few that the differing bits stay in the processor's cache."""

BOXES = (
    WHOLE,
    *[(top, left, top + 0.95, left + 0.95) for top in (0.0, 0.025, 0.05) for left in (0.0, 0.025, 0.05)],
    (0.05, 0.05, 0.95, 0.95),
)
"""Crops that are hashed, as shares of the image in the order top, left, bottom, right.

They are the whole image, and crops of up to 5 % at an edge.
"""
HASHED, LANCZOS = 64, Image.Resampling.LANCZOS
"""Side in pixels to which imagehash.phash reduces a view before it takes the lowest 16 x 16 cosines, and how."""
MIRROR, SMOOTH = len(BOXES), len(BOXES) + 1
"""Positions of the hashes of the mirrored image and of the filtered image, after those of BOXES."""


@dataclass(frozen=True)
class Thumbnails:
    """A dataset's usable images as thumbnails, with their hashes.

    image_id: str, (N,).
    images: uint8, (N, SIDE, SIDE), 0-255 grey.
    hashes: uint8, (N, len(BOXES) + 2, 32), as hash_crops makes them.
    shapes: int64, (N, 2), height and width as stored, in pixels.
    """

    image_id: np.ndarray
    images: np.ndarray
    hashes: np.ndarray
    shapes: np.ndarray


def hash_crops(image: np.ndarray) -> np.ndarray:
    """Hash each of BOXES, the mirrored and the filtered image with a 256-bit perceptual hash (Zauner 2010).

    image: uint8, (SIDE, SIDE), 0-255 grey. Returns uint8, (len(BOXES) + 2, 32).
    """
    whole, edges = Image.fromarray(image), np.round(np.array(BOXES) * SIDE).astype(int).tolist()
    narrow = {  # Pillow reduces the width first, so crops of the same columns share this step
        (left, right): whole.crop((left, 0, right, SIDE)).resize((HASHED, SIDE), LANCZOS)
        for left, right in {(left, right) for _, left, _, right in edges}
    }
    crops = [narrow[left, right].crop((0, top, HASHED, bottom)) for top, left, bottom, right in edges]
    crops += [whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT), Image.fromarray(cv2.medianBlur(image, STROKE))]
    return _hash_views(np.stack([np.asarray(crop.resize((HASHED, HASHED), LANCZOS)) for crop in crops]))


def _hash_views(views: np.ndarray) -> np.ndarray:
    """Hash views, uint8, (V, HASHED, HASHED), as imagehash.phash does, all at once: uint8, (V, 32)."""
    side = math.isqrt(BITS)
    rows = scipy.fftpack.dct(views, axis=1)[:, :side]
    lowest = scipy.fftpack.dct(rows, axis=2)[:, :, :side].reshape(len(views), BITS)
    return np.packbits(lowest > np.median(lowest, axis=1, keepdims=True), axis=1)


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
        A table with DUPLICATE_COLUMNS that holds each pair once. kind is `exact` (same sha256), `near`, `mirrored` or
        `annotated` (mirrored or not). correlation is float64: 1 for `exact`, the median over blocks for `annotated`.
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


def pair_both_ways(duplicates: pd.DataFrame) -> pd.DataFrame:
    """Repeat each pair with its images swapped, so that a join on image_id finds all partners of an image.

    duplicates: DUPLICATE_COLUMNS, each pair once. Returns the same columns, each pair twice.
    """
    swapped = duplicates.rename(columns={"image_id": "other_id", "other_id": "image_id"})
    return pd.concat([duplicates, swapped])


def _measure_candidates(thumbnails: Thumbnails, other: Thumbnails, candidates: list[Candidate]) -> pd.DataFrame:
    """Return the candidates that are duplicates: one, two, kind, correlation. Of one pair, the most similar is first.

    A pair whose whole is alike comes before one of which only most blocks are.
    """
    with ThreadPoolExecutor(2) as pool:
        measured = list(pool.map(lambda candidate: _compare(thumbnails, other, candidate), candidates))
    found = pd.DataFrame([(c.one, c.two, c.kind) for c in candidates], columns=["one", "two", "kind"])
    whole, blocks = np.array(measured, np.float64).reshape(-1, 2).T
    near = found.assign(correlation=whole)[whole >= SAME]
    annotated = found.assign(kind=ANNOTATED, correlation=blocks)[(whole < SAME) & (blocks >= SAME_BLOCKS)]
    ordered = [table.sort_values("correlation", ascending=False, kind="stable") for table in (near, annotated)]
    return pd.concat(ordered)


def _shows(thumbnails: Thumbnails) -> np.ndarray:
    """Return whether each thumbnail shows anything: bool, (N,)."""
    return np.array([image.std() >= BLANK for image in thumbnails.images], bool)


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

    Each image (and its mirror image) is compared with every crop of the other, in both directions. Pairs that are only
    alike once arrows and outlines are filtered out follow, without a crop.
    """
    within = other is thumbnails
    here = _Hashes.of(thumbnails)
    there = here if within else _Hashes.of(other)
    best: dict[tuple[int, int, str], tuple[int, str, int]] = {}

    def keep(key: tuple[int, int, str], distance: int, crop: int, cropped: str) -> None:
        # at equal distance a crop of side one wins, and among these the last one
        found = (distance, cropped, -crop if cropped == "one" else crop)
        best[key] = min(best.get(key, found), found)

    for kind in (NEAR, MIRRORED):
        for one, two, crop, distance in _match_crops(here, there, kind):
            if within and one > two:
                keep((two, one, kind), distance, crop, "one")
            elif not (within and one == two):
                keep((one, two, kind), distance, crop, "two")
        if not within:
            for two, one, crop, distance in _match_crops(there, here, kind):
                keep((one, two, kind), distance, crop, "one")
    for one, two, _ in _match_hashes(here, SMOOTH, there, SMOOTH, SMOOTH_RADIUS):
        if (one, two, NEAR) not in best and not (within and one >= two):
            keep((one, two, NEAR), BITS, 0, "two")
    return sorted(Candidate(*key, crop=abs(order), cropped=cropped) for key, (_, cropped, order) in best.items())


@dataclass(frozen=True)
class _Hashes:
    """The hashes of the thumbnails that show anything.

    rows: int64, (M,), their positions among the thumbnails.
    words: uint64, (len(BOXES) + 2, 4, M), their hashes in words of 64 bits.
    """

    rows: np.ndarray
    words: np.ndarray

    @classmethod
    def of(cls, thumbnails: Thumbnails) -> _Hashes:
        rows = np.flatnonzero(_shows(thumbnails))
        words = np.ascontiguousarray(thumbnails.hashes[rows]).view(np.uint64)
        return cls(rows, np.ascontiguousarray(words.transpose(1, 2, 0)))


def _match_crops(here: _Hashes, there: _Hashes, kind: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield the row in `here`, the row in `there`, the crop of the image in `there`, and the differing bits."""
    whole = MIRROR if kind == MIRRORED else 0
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda crop: _match_hashes(here, whole, there, crop, RADIUS), range(len(BOXES)))
        for crop, matches in enumerate(found):
            yield from ((one, two, crop, bits) for one, two, bits in matches)


def _match_hashes(
    here: _Hashes, number: int, there: _Hashes, other_number: int, radius: int
) -> list[tuple[int, int, int]]:
    """Compare one hash of each image with one hash of each other image.

    Args:
        here: hashes of the first images.
        number: position of the hash that is compared.
        there: hashes of the second images.
        other_number: position of their hash.
        radius: bits by which two hashes may differ.

    Returns:
        The row in the first thumbnails, the row in the second thumbnails, and the differing bits of each match.
    """
    words, other_words = here.words[number], there.words[other_number]
    matches: list[tuple[int, int, int]] = []
    for top in range(0, len(here.rows), BLOCK):
        block = words[:, top : top + BLOCK, None]
        bits = np.zeros((block.shape[1], len(there.rows)), np.uint16)
        for word, other_word in zip(block, other_words, strict=True):
            bits += np.bitwise_count(word ^ other_word)
        one, two = np.divmod(np.flatnonzero(bits <= radius), len(there.rows))
        matches.extend(
            zip(here.rows[top + one].tolist(), there.rows[two].tolist(), bits[one, two].tolist(), strict=True)
        )
    return matches


def _compare(thumbnails: Thumbnails, other: Thumbnails, candidate: Candidate) -> tuple[float, float]:
    """Return the correlation of a candidate's two pictures, and the median over their blocks if that has to decide.

    Strokes can mislead the alignment. So the blocks are also compared as the crop alone places them.
    """
    image, target = thumbnails.images[candidate.one], other.images[candidate.two]
    if candidate.cropped == "one":
        image, target = target, image
    image = np.ascontiguousarray(image[:, ::-1]) if candidate.kind == MIRRORED else image
    box = BOXES[candidate.crop]
    if search_windows(image, target, box) < ALIKE:
        return 0.0, 0.0
    aligned = align_detail(image, target, box)
    whole = correlate_whole(*aligned) if aligned is not None else 0.0
    if whole >= SAME:
        return whole, 0.0
    blocks = correlate_blocks(*aligned) if aligned is not None else 0.0
    if blocks < SAME_BLOCKS:
        placed = align_detail(image, target, box, refine=False)
        blocks = max(blocks, correlate_blocks(*placed) if placed is not None else 0.0)
    return whole, blocks
