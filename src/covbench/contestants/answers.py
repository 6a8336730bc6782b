"""Read what a contestant answers, check all of it at once, and name what is wrong with row and remedy."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet

from covbench.data.masks import number_classes, read_mask
from covbench.data.metadata import read_metadata
from covbench.schema import CLASSIFICATION, CovbenchError, Task
from covbench.system.listings import join_first

TABLES = (".csv", ".parquet")
MASKS = (".png", ".nii.gz", ".nii")
SUM_TOLERANCE = 1e-3  # how far the probabilities of a row may be from adding up to 1
SHOWN = 5  # rows that a message names
UNPACKED = 2**32
"""Bytes that a file of masks may unpack to."""


@dataclass(frozen=True)
class Asked:
    """What a contestant was asked.

    required: ids that it has to answer. optional: ids of which it answers all or none. ignored: further ids that it may
    answer. task: whose classes it answers with. size: height and width of its masks. labels_only: whether it names a
    class instead of probabilities.
    """

    required: Sequence[str]
    optional: Sequence[str]
    ignored: Sequence[str]
    task: Task
    size: tuple[int, int]
    labels_only: bool = False


@dataclass(frozen=True)
class Answers:
    """Checked answers.

    ids: the required ones, and the optional ones before them if they were answered. predicted: probabilities, float64,
    (R, C), that add up to 1, or class numbers, uint8, (R, H, W), in the order of the ids.
    """

    ids: list[str]
    predicted: np.ndarray


def find_answers(folder: Path, task: Task) -> Path:
    """Find the answers in the folder that a contestant has written, or take the file itself.

    Args:
        folder: the folder, or a file.
        task: the task.

    Returns:
        predictions.csv or .parquet; for a segmentation the folder or file `masks`, or else the folder itself.

    Raises:
        CovbenchError: there are none.
    """
    if folder.is_file():
        return folder
    names = ["predictions.csv", "predictions.parquet"] if task.kind == CLASSIFICATION else ["masks", "masks.npz"]
    for name in names:
        if (folder / name).exists():
            return folder / name
    if task.kind != CLASSIFICATION and any(_list_masks(folder)):
        return folder
    raise CovbenchError(f"{folder}: holds no {' or '.join(names)}; write one of them")


def read_answers(path: Path, asked: Asked) -> Answers:
    """Read and check the answers to all rows that were asked.

    Args:
        path: a table of probabilities or labels; a folder or .npz file of masks.
        asked: the rows.

    Returns:
        The answers.

    Raises:
        CovbenchError: lists everything that is wrong, a line each.
    """
    if asked.task.kind != CLASSIFICATION:
        return _read_maps(path, asked)
    if path.suffix not in TABLES:
        raise CovbenchError(f"{path}: is no table; write {' or '.join(TABLES)}")
    return _read_labels(path, asked) if asked.labels_only else _read_probabilities(path, asked)


def _choose_ids(found: Collection[str], asked: Asked) -> list[str]:
    """Choose the ids to read: the optional ones too if one of them was answered."""
    answered = set(found)
    return [*(asked.optional if answered & {*asked.optional} else ()), *asked.required]


def _check_ids(path: Path, found: Sequence[str], ids: Sequence[str], asked: Asked) -> list[str]:
    """Compare ids with those that were asked for. Returns what is wrong, a sentence each."""
    counts = pd.Series(list(found), dtype="str").value_counts()
    known = {*ids, *asked.optional, *asked.ignored}
    groups = [
        ("missing", [name for name in ids if name not in counts.index], "answer each id of the table once"),
        ("there twice or more", [str(n) for n in counts.index[counts > 1]], "keep one answer for each id"),
        ("unknown", [str(n) for n in counts.index if n not in known], "take the ids from the tables of this split"),
    ]
    return [_say(path, f"{len(names):,} ids are {what}", names, remedy) for what, names, remedy in groups if names]


def _say(path: Path, problem: str, examples: Sequence[str], remedy: str) -> str:
    return f"{path}: {problem} ({join_first(list(examples), SHOWN)}); {remedy}"


def _refuse(problems: Sequence[str]) -> None:
    """Raise CovbenchError with a line for each problem, if there is one."""
    if problems:
        raise CovbenchError("\n".join(problems))


def _read_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read columns of a table as text. The index is the number of the row in the file."""
    if path.suffix != ".parquet":
        return read_metadata(path, columns)
    try:
        stored = pyarrow.parquet.read_schema(path).names
        missing = [name for name in columns if name not in stored]
        if missing:
            raise CovbenchError(
                f"{path}: has no column {join_first(missing, SHOWN)}; its columns are {', '.join(stored)}"
            )
        table = pd.read_parquet(path, columns=list(columns))
    except (ValueError, OSError) as error:
        raise CovbenchError(f"{path}: cannot be read ({' '.join(str(error).split())}); write it again") from error
    return table.astype({"id": "str"})


def _read_probabilities(path: Path, asked: Asked) -> Answers:
    classes = list(asked.task.classes)
    table = _read_columns(path, ["id", *classes])
    numbers = table[classes].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    ids = _choose_ids(table["id"], asked)
    _refuse([*_check_ids(path, table["id"].tolist(), ids, asked), *_check_numbers(path, table, numbers, classes)])
    places = pd.Series(range(len(table)), index=table["id"])
    chosen = numbers[places.loc[ids].to_numpy()]
    return Answers(ids, chosen / chosen.sum(axis=1, keepdims=True))


def _check_numbers(path: Path, table: pd.DataFrame, numbers: np.ndarray, classes: Sequence[str]) -> Iterator[str]:
    """Find rows whose cells are no probabilities."""

    def rows(wrong: np.ndarray) -> list[str]:
        return [f"row {number}" for number in table.index[wrong]]

    absent = ~np.isfinite(numbers).all(axis=1)
    outside = ~absent & ((numbers < 0) | (numbers > 1)).any(axis=1)
    sums = ~absent & ~outside & (np.abs(numbers.sum(axis=1) - 1) > SUM_TOLERANCE)
    if absent.any():
        yield _say(path, f"{absent.sum():,} rows hold no number", rows(absent), "write a probability in each cell")
    if outside.any():
        yield _say(
            path, f"{outside.sum():,} rows are not between 0 and 1", rows(outside), "write probabilities, no logits"
        )
    if sums.any():
        yield _say(path, f"{sums.sum():,} rows do not add up to 1", rows(sums), f"write all of {', '.join(classes)}")
    if not (absent.any() or outside.any() or sums.any()) and np.isin(numbers, (0, 1)).all():
        yield (
            f"{path}: every probability is 0 or 1, so these are labels; write probabilities, or the columns id and "
            "label with `answers: labels` in contestant.yaml"
        )


def _read_labels(path: Path, asked: Asked) -> Answers:
    """Read class names as probabilities of 1."""
    classes = asked.task.classes
    table = _read_columns(path, ["id", "label"])
    ids = _choose_ids(table["id"], asked)
    problems = _check_ids(path, table["id"].tolist(), ids, asked)
    unknown = table[~table["label"].isin(classes)]
    if len(unknown):
        rows = [f"row {number}: {label!r}" for number, label in zip(unknown.index, unknown["label"], strict=True)]
        problems.append(_say(path, f"{len(unknown):,} labels are no class", rows, f"write one of {', '.join(classes)}"))
    _refuse(problems)
    labels = pd.Series(table["label"].to_numpy(), index=table["id"]).loc[ids]
    return Answers(ids, np.eye(len(classes))[[classes.index(label) for label in labels]])


def _list_masks(folder: Path) -> Iterator[tuple[str, Path]]:
    """List the masks of a folder: id and path."""
    for path in sorted(folder.iterdir()):
        suffix = next((suffix for suffix in MASKS if path.name.endswith(suffix)), "")
        if suffix and path.is_file() and not path.name.startswith("."):
            yield path.name.removesuffix(suffix), path


def _read_maps(path: Path, asked: Asked) -> Answers:
    """Read class maps."""
    declared = " ".join(f"{number}:{name}" for number, name in enumerate(asked.task.classes))
    with _open_masks(path) as (found, read):
        ids, there = _choose_ids(found, asked), set(found)
        problems = _check_ids(path, found, ids, asked)
        maps = np.zeros((len(ids), *asked.size), np.uint8)
        wrong = []
        for number, name in enumerate(ids):
            try:
                maps[number] = _require_size(read(name, declared, asked.task.classes), asked) if name in there else 0
            except CovbenchError as error:
                wrong.append(f"{name}: {error}")
    more = [f"{path}: {len(wrong) - SHOWN:,} more masks are wrong"] if len(wrong) > SHOWN else []
    _refuse([*problems, *wrong[:SHOWN], *more])
    return Answers(ids, maps)


def _require_size(mask: np.ndarray, asked: Asked) -> np.ndarray:
    if mask.shape != asked.size:
        wanted, there = (f"{height} x {width}" for height, width in (asked.size, mask.shape))
        raise CovbenchError(f"the mask has {there} pixels, the image {wanted}; predict on the image's grid")
    return mask


@contextmanager
def _open_masks(path: Path) -> Iterator[tuple[list[str], Callable[[str, str, Sequence[str]], np.ndarray]]]:
    """Open a folder or an archive of masks. Yields its ids, and a function that reads one as class numbers."""
    if path.is_dir():
        masks = list(_list_masks(path))
        files = dict(masks)
        yield [name for name, _ in masks], lambda name, declared, classes: _read_file(files[name], declared, classes)
        return
    with _open_archive(path) as archive:
        yield list(archive.files), partial(_read_entry, archive)


def _read_file(path: Path, declared: str, classes: Sequence[str]) -> np.ndarray:
    return read_mask(path, -1 if path.suffix == ".png" else 0, declared, classes)


def _read_entry(archive: np.lib.npyio.NpzFile, name: str, declared: str, classes: Sequence[str]) -> np.ndarray:
    try:
        return number_classes(archive[name], declared, classes)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise CovbenchError(f"cannot be read ({error})") from error


def _open_archive(path: Path) -> np.lib.npyio.NpzFile:
    """Open an .npz file without running code from it. Raises CovbenchError if it is none, or unpacks to too much."""
    try:
        with zipfile.ZipFile(path) as parts:
            size = sum(part.file_size for part in parts.infolist())
        if size > UNPACKED:
            raise CovbenchError(f"{path}: unpacks to {size:,} bytes, more than {UNPACKED:,}; write PNG files instead")
        archive = np.load(path, allow_pickle=False)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise CovbenchError(f"{path}: is no .npz file of masks ({error}); write one array per id") from error
    assert isinstance(archive, np.lib.npyio.NpzFile)
    return archive
