"""Tabulate the grid that each mask is stored on: the volume it is a slice of, its place there, and millimetres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from covbench.data.index import group_by_file, usable_rows
from covbench.data.inspection import image_orientation
from covbench.data.row_images import first_row
from covbench.data.volumes import header_orientation, is_volume, open_volume
from covbench.schema import Column, Task

GRID_COLUMNS: dict[str, Column] = {
    "image_id": Column("str", "as in the index"),
    "volume": Column("int64", "number of the volume; -1: a picture, or a slice that lies beside no other"),
    "frame": Column("int64", "as in the index"),
    "slice_mm": Column("float64", "from one slice to the next; NaN: not known"),
    "row_mm": Column("float64", "from one row of pixels to the next; NaN as above"),
    "column_mm": Column("float64", "from one column of pixels to the next; NaN as above"),
}
SPACING = ["slice_mm", "row_mm", "column_mm"]
IN_MM = ("mm", "unknown")
"""Units of NIfTI headers that are read as millimetres. A header that names none is written in them as a rule."""


def tabulate_grids(index: pd.DataFrame, raw: Path, task: Task) -> pd.DataFrame:
    """Tabulate the grids of a task's masks in the order of its prepared arrays.

    A volume is the slices of one patient in one file. A file whose slices belong to several patients is a stack of
    unrelated slices, and its header says nothing of their spacing.

    Args:
        index: schema.INDEX_COLUMNS of the task's dataset.
        raw: the dataset's folder in data/raw.
        task: a segmentation.

    Returns:
        GRID_COLUMNS, a row per usable image.

    Raises:
        CovbenchError: the header of a volume cannot be read.
    """
    rows = usable_rows(index, task)
    table = rows[["image_id", "frame"]].assign(volume=_number_volumes(rows), **dict.fromkeys(SPACING, np.nan))
    for numbers in group_by_file(rows):
        of_file = rows.take(numbers)
        volumes = set(table["volume"].take(numbers))
        if len(volumes) == 1 and volumes != {-1}:
            table.loc[numbers, SPACING] = read_spacing(of_file, raw)
    return table[list(GRID_COLUMNS)]


def _number_volumes(rows: pd.DataFrame) -> pd.Series:
    groups = rows.groupby(["path", "patient_id"], sort=False)
    several = (groups["frame"].transform("size") > 1) & (rows["frame"] >= 0)
    return groups.ngroup().where(several, -1)


def read_spacing(rows: pd.DataFrame, raw: Path) -> tuple[float, float, float]:
    """Read the spacing of upright slices from the header of their volume.

    It is not known for a .npy stack, for a header that is a placeholder (volumes.header_orientation) or has another
    unit, and where all three axes have exactly 1 mm, which is what a program writes that knows no spacing.

    Args:
        rows: schema.INDEX_COLUMNS, of one `path`.
        raw: the dataset's folder in data/raw.

    Returns:
        Millimetres between slices, rows and columns; NaN where not known.
    """
    from nibabel.affines import voxel_sizes

    unknown = (np.nan, np.nan, np.nan)
    path = raw / str(first_row(rows)["path"])
    if not is_volume(path) or not header_orientation(path):
        return unknown
    volume, axes = open_volume(path), image_orientation(first_row(rows), raw)
    sizes = voxel_sizes(volume.affine)
    if volume.header.get_xyzt_units()[0] not in IN_MM or np.allclose(sizes, 1):
        return unknown
    between, down, across = (
        float(sizes[next(number for number, letter in enumerate(axes) if letter in pair)])
        for pair in ("SI", "AP", "LR")
    )
    return between, down, across
