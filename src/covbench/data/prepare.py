"""Resize a task's images and masks to arrays that can be memory-mapped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import BinaryIO
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
from tqdm import tqdm

from covbench.data.decoded_store import open_store
from covbench.data.fetched_files import read_indexed, require_fetched
from covbench.data.index import count_workers, group_by_file, raise_all, usable_rows
from covbench.data.inspection import read_row_masks
from covbench.data.resizing import RESIZES, resize_mask
from covbench.schema import CLASSIFICATION, CovbenchError, Task
from covbench.system.disk import require_space
from covbench.system.files import write_at, write_checksum, write_whole

Decode = Callable[[pd.DataFrame], Iterator[np.ndarray]]


def prepare_images(
    index: pd.DataFrame, raw: Path, task: Task, size: int, out: Path, resize: str = "antialias"
) -> pd.DataFrame:
    """Write the usable images of a task to a .npy file: uint8, (N, size, size), 0-255 grey, in index order.

    Images are squashed to the square, as the study did. Each image is written as soon as it is decoded, so memory does
    not grow with N. If a file cannot be read, no array is written.

    Args:
        index: schema.INDEX_COLUMNS of the task's dataset.
        raw: the dataset's folder in data/raw.
        task: the task to prepare.
        size: side of the square images, in pixels.
        out: path of the .npy file.
        resize: a name of covbench.data.resizing.RESIZES.

    Returns:
        A table in the order of the array: image_id, label (int64 class number, -1 for segmentation), height and width
        (int64, as stored, in pixels).

    Raises:
        CovbenchError: the task has no usable image, or a file cannot be read or is not the one that was indexed. The
            message names every such file.
    """
    rows = _require_rows(index, task)
    with open_store(raw) as store:
        shapes = _write_array(rows, raw, size, out, partial(read_indexed, raw=raw, store=store), RESIZES[resize])
    numbers = {name: number for number, name in enumerate(task.classes)}
    labels = rows["label"].map(numbers) if task.kind == CLASSIFICATION else -1
    return rows[["image_id"]].assign(
        label=np.asarray(labels, dtype=np.int64), height=shapes[:, 0].copy(), width=shapes[:, 1].copy()
    )


def prepare_masks(index: pd.DataFrame, raw: Path, task: Task, size: int, out: Path) -> None:
    """Write the masks of the same images, in the same order, to a .npy file: uint8, (N, size, size), class numbers.

    Args:
        index: schema.INDEX_COLUMNS of the task's dataset.
        raw: the dataset's folder in data/raw.
        task: the task to prepare.
        size: side of the square masks, in pixels.
        out: path of the .npy file.

    Raises:
        CovbenchError: the task has no usable image, or a mask cannot be read or is not the one that was fetched. The
            message names every such file.
    """
    rows = _require_rows(index, task)
    require_fetched(raw, rows["mask"])
    _write_array(rows, raw, size, out, partial(read_row_masks, raw=raw, classes=task.classes), resize_mask)


def prepare_native_masks(index: pd.DataFrame, raw: Path, task: Task, out: Path) -> None:
    """Write the masks of the same images on their stored grids, compressed, to a .npz file.

    Its array of name "12" belongs to row 12 of the prepared arrays: uint8, (H, W), class numbers. numpy.load reads one
    array at a time. A stored checksum guards each. Masks are written as soon as they are decoded.

    Args:
        index: schema.INDEX_COLUMNS of the task's dataset.
        raw: the dataset's folder in data/raw.
        task: the task to prepare.
        out: path of the .npz file.

    Raises:
        CovbenchError: the task has no usable image, or a mask cannot be read or is not the one that was fetched. The
            message names every such file.
    """
    rows = _require_rows(index, task)
    require_fetched(raw, rows["mask"])
    errors: list[str] = []
    with write_whole(out) as temporary, ZipFile(temporary, "w", ZIP_DEFLATED) as archive:
        for numbers in tqdm(group_by_file(rows), unit="file"):
            try:
                masks = read_row_masks(rows.take(numbers), raw, task.classes)
                for number, mask in zip(numbers.tolist(), masks, strict=True):
                    with archive.open(f"{number}.npy", "w") as file:
                        np.lib.format.write_array(file, np.ascontiguousarray(mask), allow_pickle=False)
            except CovbenchError as error:
                errors.append(str(error))
        raise_all(sorted(errors), raw)


def split_grid(folder: str) -> tuple[int, str]:
    """Return the side and the name in RESIZES that name a folder of prepared arrays: `224` or `224-linear`."""
    side, _, resize = folder.partition("-")
    return int(side), resize or "antialias"


def _require_rows(index: pd.DataFrame, task: Task) -> pd.DataFrame:
    rows = usable_rows(index, task)
    if rows.empty:
        raise CovbenchError(f"task {task.name}: the index has no usable row; see the counts in logs/index/")
    return rows


def _write_array(
    rows: pd.DataFrame,
    raw: Path,
    size: int,
    out: Path,
    decode: Decode,
    resize: Callable[[np.ndarray, int], np.ndarray],
) -> np.ndarray:
    """Decode file by file in parallel, write each picture at its position, and return stored shapes, int64, (N, 2).

    The array's checksum file is written beside it (covbench.system.content_hashes), so that a training can name its
    data without reading gigabytes.
    """
    shapes = np.zeros((len(rows), 2), np.int64)
    errors: list[str] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    require_space(out.parent, len(rows) * size * size, str(out))
    with write_whole(out) as temporary, temporary.open("wb") as file:
        start = _write_header(file, (len(rows), size, size))

        def write_file(numbers: np.ndarray) -> None:
            try:
                for number, picture in zip(numbers.tolist(), decode(rows.take(numbers)), strict=True):
                    shapes[number] = picture.shape
                    # pages of a memory map would count as this process's memory
                    write_at(file, resize(picture, size).tobytes(), start + number * size * size)
            except CovbenchError as error:
                errors.append(str(error))

        files = group_by_file(rows)
        with ThreadPoolExecutor(count_workers()) as pool:
            deque(tqdm(pool.map(write_file, files), total=len(files), unit="file"), maxlen=0)
        raise_all(sorted(errors), raw)
    write_checksum(out)
    return shapes


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    """Write the .npy header and return the offset of the first number."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    file.flush()
    return file.tell()
