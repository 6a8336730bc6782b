"""Reduce a dataset's usable images to thumbnails with hashes, for finding and showing duplicates."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from covbench.audit.duplicates import Thumbnails, hash_crops
from covbench.data.decoded_store import DecodedStore, open_store
from covbench.data.fetched_files import read_indexed
from covbench.data.images import resize_image
from covbench.data.index import count_workers, group_by_file, raise_all
from covbench.schema import CovbenchError
from covbench.system.files import write_whole

FIELDS = ("image_id", "images", "hashes", "shapes")


def make_thumbnails(index: pd.DataFrame, raw: Path, side: int) -> Thumbnails:
    """Reduce every image of an index that is not excluded to a thumbnail, and read each file only once.

    Args:
        index: schema.INDEX_COLUMNS of a dataset.
        raw: the dataset's folder in data/raw.
        side: side of a thumbnail in pixels. Images are squashed to the square.

    Returns:
        The thumbnails in the order of the index.

    Raises:
        CovbenchError: a file cannot be read, or is not the one that was indexed. The message names every such file.
    """
    rows = index[~index["excluded"]].reset_index(drop=True)
    files = group_by_file(rows)
    with open_store(raw) as store, ThreadPoolExecutor(count_workers()) as pool:
        described = pool.map(lambda positions: _describe_file(rows.take(positions), raw, side, store), files)
        found = list(tqdm(described, total=len(files)))
    raise_all([error for _, error in found if error], raw)
    order = np.argsort(np.concatenate(files))
    images, hashes, shapes = zip(*(frame for frames, _ in found for frame in frames), strict=True)
    ids = rows["image_id"].to_numpy(str)
    return Thumbnails(ids, np.stack(images)[order], np.stack(hashes)[order], np.array(shapes, np.int64)[order])


def _describe_file(
    rows: pd.DataFrame, raw: Path, side: int, store: DecodedStore
) -> tuple[list[tuple[np.ndarray, np.ndarray, tuple[int, ...]]], str]:
    """Thumbnail, hashes and stored shape of each row of a file, and what is wrong with it."""
    try:
        small = [(resize_image(picture, side), picture.shape) for picture in read_indexed(rows, raw, store)]
    except CovbenchError as error:
        return [], str(error)
    return [(picture, hash_crops(picture), shape) for picture, shape in small], ""


def write_thumbnails(path: Path | str, thumbnails: Thumbnails) -> None:
    """Write thumbnails as an uncompressed .npz file, whole or not at all."""
    with write_whole(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{name: getattr(thumbnails, name) for name in FIELDS})


def read_thumbnails(path: Path | str) -> Thumbnails:
    """Read a file that write_thumbnails wrote."""
    with np.load(path) as stored:
        return Thumbnails(*(stored[name] for name in FIELDS))
