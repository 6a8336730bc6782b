"""Compare an index with the files in its raw folder: one file for each image_id, all inside, and what is not read."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from covbench.data.metadata import HIDDEN, LOCK
from covbench.data.names import fold_name
from covbench.schema import CovbenchError

LISTED = 50  # errors that one message lists


def list_errors(errors: Sequence[str]) -> str:
    """The first LISTED errors, a line each, and how many more there are."""
    more = f"\n  … and {len(errors) - LISTED} more" if len(errors) > LISTED else ""
    return "\n  ".join(errors[:LISTED]) + more


def require_inside(table: pd.DataFrame, raw: Path) -> None:
    """Raise CovbenchError for images and masks whose path leads out of the raw folder.

    table: schema.INDEX_COLUMNS; rows are named by image_id. A path is wrong if it is absolute, has a '..', or passes
    through a symbolic link that leads out.
    """
    root, errors = os.path.realpath(raw), []
    for column in ("path", "mask"):
        names = table.loc[table[column] != ""].drop_duplicates(column)
        for image, name in zip(names["image_id"], names[column], strict=True):
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                errors.append(f"{image}: {column} {name!r}; write it relative to the folder, without '..'")
            elif not os.path.realpath(raw / name).startswith(root + os.sep):
                errors.append(f"{image}: {column} {name!r} is a link out of the folder; put the file itself there")
    if errors:
        raise CovbenchError(f"{raw}: {len(errors)} paths lead outside this folder:\n  {list_errors(errors)}")


def require_unique(table: pd.DataFrame, raw: Path) -> None:
    """Raise CovbenchError for rows with one image_id; it names the files of both.

    table: schema.INDEX_COLUMNS. Ids are compared by covbench.data.names.fold_name.
    """
    first: dict[str, str] = {}
    errors = []
    for image, path in zip(table["image_id"], table["path"], strict=True):
        key = fold_name(image)
        if key in first:
            both = f"{first[key]} and {path}" if first[key] != path else f"{path} twice"
            errors.append(f"image_id {image!r}: {both}")
        first.setdefault(key, path)
    if errors:
        raise CovbenchError(
            f"{raw}: {len(errors)} image_ids are there twice; keep one file of each:\n  {list_errors(errors)}"
        )


def count_unread(raw: Path, read: Iterable[str]) -> dict[str, int]:
    """Count the files in a folder that were not read, by suffix: {'.webp': 4, 'no suffix': 1}.

    read: paths that were read, relative to `raw`, with forward slashes.
    """
    known = set(read)
    kinds = (
        _kind(path) for path in raw.rglob("*") if not path.is_dir() and path.relative_to(raw).as_posix() not in known
    )
    return dict(sorted(Counter(kinds).items()))


def show_unread(unread: Mapping[str, int]) -> str:
    """Show the counts of count_unread in words: '4 .webp, 1 no suffix'; empty if every file was read."""
    return ", ".join(f"{count:,} {kind}" for kind, count in unread.items())


def _kind(path: Path) -> str:
    """Return the suffix of a file in lower case, or what its name says of it. What follows a number is no suffix."""
    if path.name.startswith(LOCK):
        return "Excel lock file"
    if path.name.startswith(HIDDEN):
        return "hidden"
    found = re.search(r"(\.nii)?\.(?=\w*[a-z])\w{1,8}$", path.name.lower())
    return found.group() if found else "no suffix"
