"""Near-duplicates among 15,000 X-rays: time, memory, and the same table as when every candidate was aligned"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pandas as pd

from bench.processes import call_fresh
from bench.rows import Row
from covbench.audit import duplicates
from covbench.audit.alignment import SIDE
from covbench.audit.duplicates import Thumbnails, find_candidates, find_duplicates, hash_crops
from covbench.audit.thumbnails import read_thumbnails, write_thumbnails

FEW, MANY = 3_000, 15_000
EVERY = 20
"""Every 20th X-ray is a duplicate of the one before it."""
VARIETY = 28.0
"""Grey levels by which chests differ coarsely. With these, 6 pairs in 10,000 are candidates (real X-rays: 5)."""


def measure() -> list[Row]:
    """Search 15,000 X-rays once, and 3,000 with the method of before and with ours in one process."""
    with tempfile.TemporaryDirectory() as folder:
        few, many = (call_fresh("bench.near_duplicates:write_chests", f"{folder}/{n}.npz", n) for n in (FEW, MANY))
        both = call_fresh("bench.near_duplicates:compare_methods", few)
        ours = call_fresh("bench.near_duplicates:search", many)
    what = f"{ours['candidates']} candidates, {ours['share']:.1f} in 10,000 pairs; {ours['pairs']} duplicates found"
    wall_note = f"{what}; {ours['cpu']:.0f} s of the processor; before, 332 s of it for as many real X-rays"
    before = f"{both['candidates']} candidates; before: products of signs, and every candidate aligned"
    return [
        Row(f"{MANY:,} X-rays", ours["wall"], np.nan, "s", ours["wall"], "<= 120", wall_note),
        Row(f"{MANY:,} X-rays", ours["peak"], np.nan, "MB", ours["peak"], "<= 1500", "peak; before: 2,178 MB"),
        Row(f"{FEW:,} X-rays", both["ours"], both["before"], "CPU s", both["before"] / both["ours"], "", before),
        Row(f"{FEW:,} X-rays", both["differ"], 0, "rows", both["differ"], "<= 0", "rows of the table that differ"),
    ]


def search(path: str) -> dict[str, float]:
    """Find the duplicates among the thumbnails of a file: seconds, peak memory in MB, and how many were found."""
    thumbnails = read_thumbnails(path)
    started = time.perf_counter(), time.process_time()
    found, candidates = _find(thumbnails)
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    status = Path("/proc/self/status").read_text()  # ru_maxrss would start at the memory of the parent process
    peak = int(re.search(r"VmHWM:\s*(\d+)", status)[1]) * 1024 / 1e6  # type: ignore[index]
    count = len(thumbnails.image_id)
    share = candidates / (count * (count - 1) / 2) * 1e4
    return {"wall": wall, "cpu": cpu, "peak": peak, "candidates": candidates, "share": share, "pairs": len(found)}


def compare_methods(path: str) -> dict[str, float]:
    """Search the thumbnails of a file with both methods: seconds of the processor, and rows that differ."""
    thumbnails = read_thumbnails(path)
    started = time.process_time()
    with _method_of_before():
        before, candidates = _find(thumbnails)
    middle = time.process_time()
    ours, _ = _find(thumbnails)
    ended = time.process_time()
    both = set(before.itertuples(index=False, name=None)) ^ set(ours.itertuples(index=False, name=None))
    return {"before": middle - started, "ours": ended - middle, "candidates": candidates, "differ": len(both)}


def _find(thumbnails: Thumbnails) -> tuple[pd.DataFrame, int]:
    """Return the duplicates within some thumbnails, and how many pairs were candidates."""
    ids = thumbnails.image_id
    rows = pd.DataFrame({"image_id": ids, "patient_id": ids, "frame": -1, "sha256": ids})
    counts: list[int] = []

    def count(*sides: Thumbnails) -> list[duplicates.Candidate]:
        candidates = find_candidates(*sides)
        counts.append(len(candidates))
        return candidates

    with mock.patch.object(duplicates, "find_candidates", count):
        return find_duplicates(rows, thumbnails, rows, thumbnails), counts[0]


@contextmanager
def _method_of_before() -> Iterator[None]:
    """Compare hashes by products of signs, float32, and align every candidate."""

    def match(
        here: duplicates._Hashes, number: int, there: duplicates._Hashes, other_number: int, radius: int
    ) -> list[tuple[int, int, int]]:
        signs, columns = _read_signs(here.words[number]), _read_signs(there.words[other_number]).T
        matches: list[tuple[int, int, int]] = []
        for top in range(0, len(signs), 1024):
            agreement = signs[top : top + 1024] @ columns
            one, two = np.nonzero(agreement >= duplicates.BITS - 2 * radius)
            bits = ((duplicates.BITS - agreement[one, two]) / 2).astype(int)
            matches += zip(here.rows[top + one].tolist(), there.rows[two].tolist(), bits.tolist(), strict=True)
        return matches

    with mock.patch.object(duplicates, "ALIKE", -1.0), mock.patch.object(duplicates, "_match_hashes", match):
        yield


def _read_signs(words: np.ndarray) -> np.ndarray:
    """Convert hashes, uint64, (4, N), to signs, float32, (N, BITS), -1 or 1."""
    hashes = np.ascontiguousarray(words.T).view(np.uint8)
    return np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1


def write_chests(path: str, count: int) -> str:
    """Write thumbnails of X-rays that are drawn. The process whose memory is measured must not do this itself."""
    images = draw_chests(count)
    with ThreadPoolExecutor(2) as pool:
        hashes = np.stack(list(pool.map(hash_crops, images)))
    ids = np.array([f"{number:05d}" for number in range(count)])
    write_thumbnails(path, Thumbnails(ids, images, hashes, np.full((count, 2), SIDE)))
    return path


def draw_chests(count: int) -> np.ndarray:
    """Draw chests with one anatomy and detail of their own, and duplicates among them: uint8, (count, SIDE, SIDE)."""
    rng = np.random.default_rng(0)
    images = np.empty((count, SIDE, SIDE), np.uint8)
    for number in range(count):
        disguise = DISGUISES[number // EVERY % len(DISGUISES)]
        copied = number % EVERY == EVERY - 1
        images[number] = disguise(images[number - 1].copy()) if copied else _draw_chest(rng)
    return images


def _draw_chest(rng: np.random.Generator) -> np.ndarray:
    """Lungs, heart and ribs, each a little different, under clouds of several scales: uint8, (SIDE, SIDE)."""
    image: Any = np.full((SIDE, SIDE), 170, np.float32)
    shift = rng.normal(0, 2, 8)
    for across, tilt in ((38, 8), (90, -8)):
        centre, axes = (int(across + shift[0]), int(62 + shift[1])), (int(22 + shift[2]), int(44 + shift[3]))
        cv2.ellipse(image, centre, axes, tilt + shift[4], 0, 360, 60, -1)
    cv2.ellipse(image, (round(70 + shift[5]), round(88 + shift[6])), (22, 20), 30, 0, 360, 190, -1)
    image = cv2.GaussianBlur(image, (0, 0), 3)
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    arcs = rows + (columns - SIDE / 2) ** 2 / 160
    image += 8 * np.sin(arcs * (2 * np.pi / (11 + 0.4 * shift[7])) + rng.uniform(0, 6))
    for cells, depth in ((5, VARIETY), (12, VARIETY / 2), (40, 9), (80, 6)):
        clouds = rng.normal(0, depth, (cells, cells)).astype(np.float32)
        image += cv2.resize(clouds, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)


def _compress(image: np.ndarray) -> np.ndarray:
    return np.asarray(
        cv2.imdecode(cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 50))[1], cv2.IMREAD_GRAYSCALE)
    )


def _crop(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image[4:, :-5], (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def _annotate(image: np.ndarray) -> np.ndarray:
    cv2.putText(image, "day 4", (4, SIDE - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.35, 255, 1, cv2.LINE_AA)
    cv2.arrowedLine(image, (30, 40), (50, 55), 255, 2, tipLength=0.4)
    return cv2.rectangle(image, (75, 60), (105, 90), 255, 1)


DISGUISES: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    _compress,
    _crop,
    _annotate,
    lambda image: image[:, ::-1],
    lambda image: _compress(_crop((image * 0.7).astype(np.uint8))),
    lambda image: _annotate(_crop(image)),
    lambda image: _annotate(image[:, ::-1].copy()),
)
