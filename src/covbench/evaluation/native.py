"""Score lesions at native spacing: predicted masks are brought back to the stored grid of their image.

Each slice has its pixel counts, and scores of outlines and of single lesions. So has each whole volume: one whose
usable slices are all in the fold. Its scores are on the row of its first slice, so that a mean over rows is a mean over
volumes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from scipy import ndimage

from covbench.data.external import share_labels
from covbench.data.folds import Fold
from covbench.data.grids import SPACING
from covbench.data.resizing import restore_mask
from covbench.evaluation.lesions import score_detection
from covbench.evaluation.metrics.columns import SHAPES, SIZES, SLICE_SHAPES, SURFACES, VOLUME_SHAPES
from covbench.evaluation.ratios import divide
from covbench.evaluation.surfaces import score_surfaces
from covbench.schema import CovbenchError, Task

COUNTED = ("both", "true", "predicted")
MM3_PER_ML = 1000

Pair = tuple[np.ndarray, np.ndarray]
"""Annotated class numbers, uint8, and predicted lesions, bool, both (H, W) or (N, H, W)."""


def measure_native(test: Fold, lesions: np.ndarray, stored: Path, task: Task) -> pd.DataFrame:
    """Measure the lesions of each row of a test fold on the grid of its stored mask.

    One stored mask or volume is in memory at a time.

    Args:
        test: the fold, with R rows.
        lesions: uint8, (R, h, w), 1 where a lesion is predicted.
        stored: native_masks.npz of the fold's task, as data.prepare.prepare_native_masks writes it. Beside it lies
            native_grids.parquet, as data.grids.tabulate_grids makes it.
        task: the fold's task.

    Returns:
        A row per image. int64: pixels that are true and predicted (`both`), `true`, and `predicted`. float64:
        SLICE_SHAPES of the image; VOLUME_SHAPES and SIZES of a whole volume. NaN where undefined.

    Raises:
        CovbenchError: A file is damaged or belongs to another index.
    """
    is_lesion = share_labels(task).astype(bool)
    lung_is_annotated = len(task.classes) > 1 + len(task.lesions)
    try:
        grids = pd.read_parquet(stored.with_name("native_grids.parquet"))
        if (grids["image_id"].take(test.positions).to_numpy() != test.rows["image_id"].to_numpy()).any():
            raise ValueError("its grids are those of other images")
        spacing = grids[SPACING].to_numpy()[test.positions]
        with np.load(stored) as masks:

            def read(row: int) -> Pair:
                mask = masks[str(test.positions[row])]
                return mask, restore_mask(lesions[row], mask.shape).astype(bool)

            slices = [_measure_slice(test, row, read(row), is_lesion, spacing[row]) for row in range(len(test))]
            volumes = {
                rows[0]: _measure_volume(_stack(read, rows, frames), is_lesion, spacing[rows[0]], lung_is_annotated)
                for rows, frames in find_volumes(test, grids)
            }
    except (OSError, ValueError, KeyError, IndexError, BadZipFile) as error:
        raise CovbenchError(f"{stored}: {error}; delete it and start snakemake, which prepares it again") from error
    table = pd.DataFrame(slices, columns=[*COUNTED, *SLICE_SHAPES]).astype(dict.fromkeys(COUNTED, np.int64))
    of_volumes = pd.DataFrame.from_dict(volumes, orient="index", columns=[*VOLUME_SHAPES, *SIZES], dtype=np.float64)
    return table.join(of_volumes)


def find_volumes(test: Fold, grids: pd.DataFrame) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the rows and the slice numbers of each whole volume of a fold, from its first slice to its last.

    test: the fold. grids: data.grids.GRID_COLUMNS, in the order of its arrays.
    """
    sizes = grids["volume"].value_counts()
    table = grids[["volume", "frame"]].take(test.positions).assign(row=range(len(test)))
    table = table[(table["volume"] >= 0) & (test.copies == 0)].drop_duplicates(["volume", "frame"])
    for volume, slices in table.sort_values("frame").groupby("volume"):
        if len(slices) == sizes[volume]:
            yield slices["row"].tolist(), slices["frame"].tolist()


def _stack(read: Callable[[int], Pair], rows: Sequence[int], frames: Sequence[int]) -> Pair:
    """Stack the slices of a volume. Those between the first and the last one that cannot be used are empty."""
    shape = (frames[-1] - frames[0] + 1, *read(rows[0])[0].shape)
    masks, guesses = np.zeros(shape, np.uint8), np.zeros(shape, bool)
    for row, frame in zip(rows, frames, strict=True):
        masks[frame - frames[0]], guesses[frame - frames[0]] = read(row)
    return masks, guesses


def _measure_slice(test: Fold, row: int, pair: Pair, is_lesion: np.ndarray, spacing: np.ndarray) -> list[float]:
    annotated, guess = is_lesion[pair[0]].astype(np.uint8), pair[1]
    true = np.asarray(test.show(row, annotated, annotated)[1]).astype(bool)
    counts = (int(np.count_nonzero(mask)) for mask in (true & guess, true, guess))
    return [*counts, *score_shapes(true, guess, spacing[1:])]


def _measure_volume(pair: Pair, is_lesion: np.ndarray, spacing: np.ndarray, lung_is_annotated: bool) -> list[float]:
    mask, guess = pair
    true = is_lesion[mask]
    counts = np.array([np.count_nonzero(true), np.count_nonzero(guess)])
    inside = np.count_nonzero(mask) if lung_is_annotated else 0
    lung = inside if inside > counts[0] else 0  # a mask may mark lesions alone, whatever the task's classes are
    millilitres, percents = counts * np.prod(spacing) / MM3_PER_ML, 100 * divide(counts, np.array(lung))
    return [*score_shapes(true, guess, spacing), *millilitres, *percents]


def score_shapes(true: np.ndarray, predicted: np.ndarray, spacing: np.ndarray) -> list[float]:
    """Score the outlines and the lesions of a slice or volume whose annotation holds a lesion.

    Args:
        true: bool, (H, W) or (N, H, W).
        predicted: bool, of the same shape.
        spacing: millimetres along each axis, float64, (2,) or (3,); NaN where not known.

    Returns:
        SHAPES. All are NaN if the annotation is empty, and those of outlines if the spacing is not known. If the
        prediction is empty, shares are 0, and distances the diagonal of the grid, the longest that is possible.
    """
    if not true.any():
        return [np.nan] * len(SHAPES)
    box = ndimage.find_objects((true | predicted).astype(np.uint8))[0]
    detection = score_detection(true[box], predicted[box])
    if np.isnan(spacing).any():
        return [*[np.nan] * len(SURFACES), detection]
    diagonal = float(np.linalg.norm(true.shape * spacing))
    found = score_surfaces(true[box], predicted[box], spacing)
    return [*(diagonal if np.isinf(found[name]) else found[name] for name in SURFACES), detection]
