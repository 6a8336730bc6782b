"""Index, thumbnails and prepared arrays at two sizes: each X-ray decoded once, against decoded by every stage"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import imagehash
import numpy as np
from PIL import Image

from bench.loader import draw_images
from bench.processes import call_fresh
from bench.rows import Row
from covbench.audit import duplicates, thumbnails
from covbench.data import row_images
from covbench.data.datasets import TASKS
from covbench.data.index import build_index
from covbench.data.prepare import prepare_images

COUNT, DRAWN, SIDE = 1000, 250, 299
SIZES = ((224, "antialias"), (240, "nearest"))
TASK = TASKS["radiography"]


def measure() -> list[Row]:
    """Make everything of the same files twice, in a separate process each, and compare every byte."""
    with tempfile.TemporaryDirectory() as folder:
        kept, anew = Path(folder, "data/raw/radiography"), Path(folder, "elsewhere")
        draw_files(kept)
        ours = call_fresh("bench.decoding:make_all", str(kept), False)
        kept.rename(anew)
        other = call_fresh("bench.decoding:make_all", str(anew), True)
    if ours["outputs"] != other["outputs"]:
        raise AssertionError("the outputs differ")
    what = f"{COUNT:,} X-rays of {SIDE} x {SIDE} as PNG"
    stages = "; ".join(
        f"{name} {ours['stages'][name]:.1f} against {other['stages'][name]:.1f}" for name in ours["stages"]
    )
    scaled = f"15,000 such files take {ours['cpu'] * 15_000 / COUNT:.0f} against {other['cpu'] * 15_000 / COUNT:.0f} s"
    return [
        Row(
            f"processor time, {what}",
            ours["cpu"],
            other["cpu"],
            "s",
            other["cpu"] / ours["cpu"],
            "",
            f"every output has the same bytes; {stages}; {scaled} at this rate",
        ),
        Row("decodings of the file that is decoded most often", ours["most"], other["most"], "", ours["most"], "<= 1"),
        Row(
            "peak memory",
            ours["peak"],
            other["peak"],
            "MiB",
            ours["peak"] - other["peak"],
            "<= 100",
            "whole resident memory; the ratio is the difference",
        ),
    ]


def draw_files(raw: Path) -> None:
    """Write COUNT PNG files, each shifted and brightened differently from one of DRAWN images."""
    raw.mkdir(parents=True)
    images = draw_images(DRAWN, SIDE)
    for number in range(COUNT):
        turn, one = divmod(number, DRAWN)
        image = np.roll(images[one], 7 * turn, axis=1) // 2 + turn % 100
        cv2.imwrite(str(raw / f"{number}.png"), image)


def make_all(folder: str, as_before: bool) -> dict[str, Any]:
    """Index, thumbnails and arrays: seconds of processor, decodings, peak memory in MiB and hashes of the outputs.

    folder: the raw files. as_before: whether each crop is hashed by itself, as before. Whether decoded images are kept
    follows from the folder.
    """
    raw, out, opened = Path(folder), Path(tempfile.mkdtemp()), Counter[str]()
    _count_decodings(opened)
    if as_before:
        vars(thumbnails)["hash_crops"] = _hash_one_by_one
    started, stages, hashes = time.process_time(), {}, []
    rows = [_describe(path) for path in sorted(raw.iterdir())]
    index = build_index(rows, raw)
    stages["index"] = time.process_time() - started
    small = thumbnails.make_thumbnails(index, raw, duplicates.SIDE)
    stages["thumbnails"] = time.process_time() - started - sum(stages.values())
    for size, resize in SIZES:
        prepare_images(index, raw, TASK, size, out / "images.npy", resize)
        hashes.append(hashlib.sha256((out / "images.npy").read_bytes()).hexdigest())
    stages["arrays"] = time.process_time() - started - sum(stages.values())
    shutil.rmtree(out)
    hashes += [hashlib.sha256(values.tobytes()).hexdigest() for values in (small.images, small.hashes, small.shapes)]
    hashes.append(hashlib.sha256(index.to_csv().encode()).hexdigest())
    peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())
    return {
        "cpu": sum(stages.values()),
        "stages": stages,
        "most": max(opened.values()),
        "peak": int(peak[1]) / 1024,  # type: ignore[index]
        "outputs": hashes,
    }


def _describe(path: Path) -> dict[str, str]:
    return {"image_id": path.name, "path": path.name, "label": TASK.classes[0], "modality": "xray"}


def _count_decodings(opened: Counter[str]) -> None:
    read = vars(row_images)["read_images"]

    def count(path: Path, *rest: Any) -> Any:
        opened[path.name] += 1
        return read(path, *rest)

    vars(row_images)["read_images"] = count


def _hash_one_by_one(image: np.ndarray) -> np.ndarray:
    """Hash the views of a thumbnail one by one with imagehash, as covbench.audit.duplicates did."""
    whole = Image.fromarray(image)
    edges = np.round(np.array(duplicates.BOXES) * duplicates.SIDE).astype(int)
    crops = [whole.crop((left, top, right, bottom)) for top, left, bottom, right in edges.tolist()]
    crops += [whole.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    crops += [Image.fromarray(cv2.medianBlur(image, duplicates.STROKE))]
    return np.stack([np.packbits(imagehash.phash(crop, hash_size=16).hash) for crop in crops])
