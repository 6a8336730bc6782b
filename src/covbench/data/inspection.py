"""Inspect the files of an index: what they hold, whether they can be used, and whether masks lie on their images."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.decoded_store import DecodedStore
from covbench.data.images import perceptual_hash
from covbench.data.masks import read_masks
from covbench.data.row_images import decode_rows, first_row, hash_raw
from covbench.data.volumes import (
    DEFAULT_AXES,
    check_whole,
    count_frames,
    header_orientation,
    is_volume,
    match_mask,
    stored_axes,
)
from covbench.schema import CovbenchError

CONSTANT = "shows one grey only"

logger = logging.getLogger(__name__)


def inspect_file(rows: pd.DataFrame, raw: Path, store: DecodedStore) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Inspect the rows that share a file: sha256, phash and flaw of each, and what is wrong with the file.

    A flaw is the reason why a picture cannot be used although its file is sound. The images are decoded, whatever the
    store holds, and those of rows that are not excluded are kept in it.

    Args:
        rows: schema.INDEX_COLUMNS, of one `path`.
        raw: the dataset's folder in data/raw.
        store: of the dataset's decoded images.

    Returns:
        sha256, phash and flaw of each row, and a message for each fault of the file and its masks.
    """
    path, needed = raw / str(first_row(rows)["path"]), ~rows["excluded"]
    nothing = [("", "", "")] * len(rows)
    if not os.path.isfile(path):  # False too for a name that the file system cannot hold
        return nothing, [f"{path}: not found"] if needed.any() else []
    try:
        found = list(_hash_frames(rows, path, store))
        shapes = dict(zip(rows["frame"], [shape for *_, shape in found], strict=True))
        wrong = _check_masks(rows[needed & (rows["mask"] != "")], raw, shapes)
        return [(sha256, phash, flaw) for sha256, phash, flaw, _ in found], wrong
    except CovbenchError as error:
        return nothing, [str(error)] if needed.any() else []


def _hash_frames(
    rows: pd.DataFrame, path: Path, store: DecodedStore
) -> Iterator[tuple[str, str, str, tuple[int, ...]]]:
    """Yield sha256, phash, flaw and shape of each row of a file.

    sha256 is that of a picture's bytes, or of a slice's stored pixels.
    """
    first, brightest = first_row(rows), 0
    if first["frame"] >= 0 and is_volume(path):
        check_whole(path)
    for sha256, image in decode_rows(rows, hash_raw(path), store):
        brightest = max(brightest, int(image.max()))
        yield sha256, *_describe_image(image)
    if first["frame"] >= 0 and brightest == 1 and np.isnan(first["window_low"]):
        raise CovbenchError(f"{path}: its display values end at 1; multiply them by 255")


def _describe_image(image: np.ndarray) -> tuple[str, str, tuple[int, ...]]:
    """Return phash, flaw and shape of an image, uint8, (H, W)."""
    return perceptual_hash(image), CONSTANT if image.min() == image.max() else "", image.shape


def _check_masks(table: pd.DataFrame, raw: Path, shapes: Mapping[int, tuple[int, ...]]) -> list[str]:
    """Return what is wrong with the masks of the rows that share an image file."""
    errors = []
    for name, rows in table.groupby("mask", sort=False):
        path = raw / str(name)
        if not path.is_file():
            errors.append(f"{path}: not found, but it is the mask of {rows['path'].iloc[0]}")
            continue
        try:
            if is_volume(path):
                check_whole(path)
            for frame, mask in zip(rows["frame"], read_row_masks(rows, raw, ()), strict=True):
                if mask.shape != shapes[frame]:
                    where = f" frame {frame}" if frame >= 0 else ""
                    raise CovbenchError(
                        f"{path}:{where} mask is {mask.shape}, its image {shapes[frame]} (rows, columns)"
                    )
        except CovbenchError as error:
            errors.append(str(error))
    return errors


def read_row_masks(rows: pd.DataFrame, raw: Path, classes: Sequence[str]) -> Iterator[np.ndarray]:
    """Read the masks of the rows that share an image file and a mask file, as they lie on the image.

    Args:
        rows: schema.INDEX_COLUMNS, of one `path` and one `mask`.
        raw: the dataset's folder in data/raw.
        classes: class names in the order of their numbers.

    Yields:
        Class numbers, uint8, (H, W), in the order of the rows.

    Raises:
        CovbenchError: the mask cannot be read, has values that are not declared, or lies elsewhere than its image.
    """
    first, frames = first_row(rows), rows["frame"].tolist()
    image, mask, axes = raw / first["path"], raw / first["mask"], image_orientation(first, raw)
    if first["frame"] >= 0:
        axes, flipped = match_mask(image, mask, axes)
        frames = [count_frames(mask) - 1 - frame for frame in frames] if flipped else frames
    return read_masks(mask, frames, first["mask_values"], classes, axes)


def image_orientation(row: Mapping[str, Any], raw: Path) -> str:
    """Return how the image of a row is stored: its orientation in the index, or that of its header."""
    path = raw / row["path"]
    return stored_axes(path, row["orientation"]) if is_volume(path) else row["orientation"]


def log_unstated_axes(table: pd.DataFrame, raw: Path) -> None:
    """Log how many volumes and masks say nothing of their orientation, so that it was taken from elsewhere.

    table: schema.INDEX_COLUMNS.
    raw: the dataset's folder in data/raw.
    """
    used = table[~table["excluded"] & table["path"].map(lambda name: is_volume(Path(name)))]
    volumes = [name for name in used["path"].unique() if not header_orientation(raw / name)]
    masks = [name for name in used["mask"].unique() if is_volume(Path(name)) and not header_orientation(raw / name)]
    if volumes:
        logger.warning("%d volumes state no orientation: %s is taken", len(volumes), _list_axes(used, volumes))
    if masks:
        logger.warning("%d masks state no orientation: each is read like its image", len(masks))


def _list_axes(used: pd.DataFrame, volumes: Sequence[str]) -> str:
    taken = used.loc[used["path"].isin(volumes), "orientation"].replace("", DEFAULT_AXES)
    return ", ".join(sorted(taken.unique()))
