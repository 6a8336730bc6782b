"""Write files whole or not at all, hash them, and locate the package and its checkout."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from covbench.schema import Column
from covbench.system.disk import explain_full_disk

PACKAGE = Path(__file__).resolve().parents[1]
PROJECT = PACKAGE.parents[1]
"""The folder of the package, and the checkout that holds it."""


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """Hash a file's bytes: hexadecimal digits in lower case. `algorithm` is a name of hashlib."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextmanager
def write_whole(path: Path | str, what: str = "", size: int = 0) -> Iterator[Path]:
    """Yield a temporary path beside `path`, with the same suffixes, and rename it to `path` if nothing is raised.

    The bytes are on the disk before the file gets its name, so after a loss of power `path` is either the old file or
    the new one. What killed processes left half written of the same file is removed.

    Args:
        path: the file.
        what: its name in the error for a full disk; the path if empty.
        size: how many bytes it will have, for the same error; 0 if that is not known.

    Yields:
        The temporary path.

    Raises:
        CovbenchError: the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep_leftovers(path.parent, rf"\.(\d+)\.{re.escape(path.name)}")
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        with explain_full_disk(path.parent, what or str(path), size):
            yield temporary
            _flush_to_disk(temporary)
        os.replace(temporary, path)
        _flush_to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sweep_leftovers(folder: Path, pattern: str) -> None:
    """Remove files and folders that killed processes of this machine left half written.

    folder: where they are. pattern: regular expression for their whole name, with the process id as its first group.
    """
    for name in list(_list_hidden(folder)):
        found = re.fullmatch(pattern, name)
        if found and not _is_alive(int(found[1])):
            _list_hidden(folder).discard(name)
            leftover = folder / name
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                with suppress(OSError):  # of another user, in a folder where only the owner may remove a file
                    leftover.unlink()


@functools.cache
def _list_hidden(folder: Path) -> set[str]:
    """List the hidden names of a folder, once per process: a folder can hold thousands of files that it writes."""
    return {name for name in os.listdir(folder) if re.match(r"\.", name)}


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path | str, value: Any) -> None:
    """Write strict JSON (NaN is refused), indented, whole or not at all."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    _write_bytes(path, f"{text}\n".encode())


FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
"""How a text starts that a spreadsheet would read as a formula, or that reads like a text made harmless."""
HARMLESS = re.compile(r"'+[=+\-@\t\r\n＝＋－＠]")


def write_table(path: Path | str, table: pd.DataFrame) -> None:
    """Write a table as CSV or Parquet, by the suffix of `path`, whole or not at all.

    In a CSV file an apostrophe precedes each text that a spreadsheet would run as a formula. read_table removes it.
    Every cell stands in quotes if a text holds a carriage return, which would end the line otherwise.
    """
    content = io.BytesIO()
    if Path(path).suffix == ".parquet":
        table.to_parquet(content, index=False)
    else:
        table = _defuse_formulas(table)
        broken = any(table[name].astype(str).str.contains("\r", regex=False).any() for name in _list_texts(table))
        table.to_csv(content, index=False, quoting=csv.QUOTE_ALL if broken else csv.QUOTE_MINIMAL)
    _write_bytes(path, content.getvalue())


def _defuse_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Put an apostrophe before texts that are formulas to a spreadsheet. Numbers stay, as text too ('-0.5')."""
    table = table.copy()
    for name in _list_texts(table):
        table[name] = table[name].map(_defuse)
    return table


def _list_texts(table: pd.DataFrame) -> list[Any]:
    return [name for name, dtype in table.dtypes.items() if not pd.api.types.is_numeric_dtype(dtype)]


def _defuse(cell: Any) -> Any:
    if not isinstance(cell, str) or not FORMULA.match(cell):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _write_bytes(path: Path | str, content: bytes) -> None:
    with write_whole(path, size=len(content)) as temporary:
        temporary.write_bytes(content)


def checksum_path(path: Path) -> Path:
    """Return the path of a file's checksum file."""
    return path.with_name(f"{path.name}.sha256")


def write_checksum(path: Path, sha256: str | None = None) -> None:
    """Write a file's checksum file in the format of `sha256sum`.

    sha256: 64 hexadecimal digits, if they are known already; otherwise the file is read.
    """
    _write_bytes(checksum_path(path), f"{sha256 or hash_file(path)}  {path.name}\n".encode())


def read_table(path: Path | str, columns: Mapping[str, Column]) -> pd.DataFrame:
    """A CSV file, its columns of the given types; no rows if it does not exist.

    Args:
        path: of the file.
        columns: of the table. Others in the file stay text. Empty cells are empty text, or NaN in a column of numbers.

    Returns:
        The table. A column of whole numbers with empty cells is float64.
    """
    if not Path(path).exists():
        return pd.DataFrame(columns=list(columns))
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in table.columns:
        if name in columns and columns[name].dtype != "str":
            table[name] = pd.to_numeric(table[name].replace("nan", ""))
        else:
            table[name] = table[name].map(lambda cell: cell[1:] if HARMLESS.match(cell) else cell)
    return table


def write_arrays(path: Path | str, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name as a compressed .npz file, whole or not at all."""
    with write_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **dict(arrays))  # type: ignore[arg-type]


def write_predictions(table: pd.DataFrame, masks: Mapping[str, np.ndarray], outputs: Mapping[str, str]) -> None:
    """Write predictions, and for segmentation their class maps, each with its checksum file.

    Args:
        table: schema.PREDICTION_COLUMNS, R rows.
        masks: arrays with an entry per row, by name in the file; empty for classification.
        outputs: the path for `predictions` and, for segmentation, for `masks`.
    """
    write_table(outputs["predictions"], table)
    if masks:
        write_arrays(outputs["masks"], masks)
    for name in ("predictions", "masks") if masks else ("predictions",):
        write_checksum(Path(outputs[name]))


def open_at_any_position(path: Path) -> FileIO:
    """Open an existing or new file for reading and writing with os.pread and write_at."""
    return FileIO(path, "r+", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o666))


def write_at(file: IO[bytes], data: bytes, offset: int) -> None:
    """Write at a position of a file, so that threads need no lock.

    Args:
        file: open for writing, without a buffer that is not flushed.
        data: is written whole.
        offset: of the first byte.
    """
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file.fileno(), rest, offset)
        rest, offset = rest[written:], offset + written
