"""Find and read the tables that come with a dataset: .csv and .xlsx, each checked before it is believed."""

from __future__ import annotations

import csv
import io
import logging
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, time, timedelta
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from covbench.data.names import fold_name
from covbench.schema import CovbenchError
from covbench.system.files import hash_file
from covbench.system.text_files import read_text

LOCK, HIDDEN = "~$", "."
"""How the names of Excel's lock files and of hidden files start."""
UNPACKED = 32_000_000
"""Bytes that the parts of a workbook may unpack to. 10,000 rows of sources need about 2 million."""
CELLS = 500_000
"""Cells of a sheet that are read, empty ones between others included."""
DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "bars"}
OLD_EXCEL = b"\xd0\xcf\x11\xe0"
EXCEL_ERRORS = ("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A")

Row = tuple[int, list[Any]]
"""Number of a line or row, counted from 1, and its cells."""

log = logging.getLogger(__name__)


def find_metadata(raw: Path, name: str) -> Path:
    """Find a file by its name in a dataset's folder, whatever the case and dashes of the name.

    Args:
        raw: the dataset's folder in data/raw.
        name: of the file, or its last folders and its name, with forward slashes.

    Returns:
        The file. A name in another spelling is logged.

    Raises:
        CovbenchError: there is no such file, or there are several that differ.
    """
    parts = PurePosixPath(name).parts
    wanted = [fold_name(part) for part in parts]
    found = [
        path
        for path in sorted(raw.rglob("*"))
        if fold_name(path.name) == wanted[-1]
        and [fold_name(part) for part in path.relative_to(raw).parts[-len(parts) :]] == wanted
        and "__MACOSX" not in path.parts
        and path.is_file()
    ]
    if not found:
        raise CovbenchError(f"{raw / name}: not found; delete {raw} and its manifest and fetch again")
    if len({hash_file(path) for path in found}) > 1:
        raise CovbenchError(f"{found[0]} and {found[1]} differ, and either could be {name}; keep one of them")
    if found[0].relative_to(raw).parts[-len(parts) :] != parts:
        log.warning("%s is read as %s", found[0], name)
    return found[0]


def find_sheets(raw: Path, pattern: str) -> list[Path]:
    """Find the workbooks of a pattern of pathlib. Lock files of Excel and hidden files are none."""
    return sorted(path for path in raw.glob(pattern) if not path.name.startswith((LOCK, HIDDEN)))


def read_metadata(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
    """Read some columns of a table, .csv with commas or .xlsx, as text.

    Headings are compared by covbench.data.names.fold_name. Empty rows are left out.

    Args:
        path: of the file.
        columns: the columns to read. Others of the file are ignored.
        optional: columns that not every release has. One that is missing is empty.

    Returns:
        All of these columns by the given names, without blanks around the cells and empty where nothing is known. The
        index is the number of the row in the file.

    Raises:
        CovbenchError: the file is empty, in an unknown encoding or no table, a column is missing or there twice, or a
            row has too many or too few cells. It names the file and the row.
    """
    workbook = path.suffix.lower() == ".xlsx"
    rows = _read_sheet(path) if workbook else _read_lines(path)
    filled = ((number, cells) for number, cells in rows if any(map(_is_filled, cells)))
    line, header = next(filled, (0, []))
    if not header:
        raise CovbenchError(f"{path}: is empty; expected the columns {', '.join(columns)}")
    headings = {fold_name(str(cell)) for cell in header}
    present = [*columns, *(name for name in optional if fold_name(name) in headings)]
    positions = _locate_columns(f"{path}: line {line}", header, present)
    table: dict[int, list[str]] = {}
    for number, cells in filled:
        where = f"{path}: line {number}"
        if workbook:
            cells = _fit_width(where, cells, len(header))
        elif len(cells) != len(header):
            raise CovbenchError(f"{where} has {len(cells)} cells, the header has {len(header)}")
        table[number] = [_show_cell(f"{where}, column {present[n]}", cells[at]) for n, at in enumerate(positions)]
    if not table:
        raise CovbenchError(f"{path}: has a header but no rows")
    found = pd.DataFrame.from_dict(table, orient="index", columns=present, dtype="str")
    return found.reindex(columns=[*columns, *optional], fill_value="").astype("str")


def read_list(path: Path) -> list[str]:
    """Read a list of names, one a line, without blanks around them and empty lines. Raises CovbenchError if empty."""
    names = [line.strip() for line in read_text(path).splitlines()]
    if not any(names):
        raise CovbenchError(f"{path}: is empty; expected a name a line")
    return [name for name in names if name]


def find_hosts(path: Path, urls: Iterable[str]) -> list[str]:
    """Return the host of each address, without 'www.'; empty where there is none. Broken addresses are counted.

    path: the file that holds them, for the log.
    """
    hosts, broken = [], 0
    for url in urls:
        try:
            hosts.append(urlsplit(url.strip()).netloc.removeprefix("www."))
        except ValueError:
            hosts.append("")
            broken += 1
    if broken:
        log.warning("%s: %d addresses cannot be read; their source is unknown", path, broken)
    return hosts


def _locate_columns(where: str, header: Sequence[Any], columns: Sequence[str]) -> list[int]:
    """Return the position of each column in the header."""
    names = [fold_name("" if cell is None else str(cell)) for cell in header]
    missing = [column for column in columns if fold_name(column) not in names]
    if missing:
        split = next((word for sign, word in DELIMITERS.items() if len(header) == 1 and sign in str(header[0])), "")
        hint = f"; its cells are separated by {split}, not by commas" if split else ""
        there = ", ".join(name for name in names if name)[:200]
        raise CovbenchError(f"{where}: no column {', '.join(missing)}{hint}; there are: {there}")
    for column in columns:
        if names.count(fold_name(column)) > 1:
            raise CovbenchError(f"{where}: the column {column} is there twice; keep one of them")
    return [names.index(fold_name(column)) for column in columns]


def _read_lines(path: Path) -> Iterator[Row]:
    """Yield the rows of a .csv file. A row may span lines; its number is that of its first line."""
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise CovbenchError(f"{path}: line {number} is no row of a .csv file ({error})") from error
        yield number, cells


def _read_sheet(path: Path) -> Iterator[Row]:
    """Yield the rows of a workbook's first sheet, as values and not as formulas."""
    import openpyxl  # a third of a second, which every job of a dataset without workbooks saves

    _check_workbook(path)
    seen = 0
    try:
        workbook = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        sheet = workbook.worksheets[0]
        sheet.reset_dimensions()  # what the file says of its size may be wrong
        for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
            seen += max(len(cells), 1)
            if seen > CELLS:
                raise CovbenchError(f"{path}: its first sheet has more than {CELLS:,} cells; it is no table of names")
            if cells:
                yield number, list(cells)
    except CovbenchError:
        raise
    except Exception as error:  # openpyxl raises anything from KeyError to ParseError for a damaged file
        raise CovbenchError(f"{path}: cannot be read as an Excel workbook ({type(error).__name__}: {error})") from error


def _check_workbook(path: Path) -> None:
    """Raise CovbenchError for what is no .xlsx file, or unpacks to more than UNPACKED bytes."""
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(OLD_EXCEL):
        raise CovbenchError(f"{path}: is an old .xls file or has a password; save it as .xlsx without one")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise CovbenchError(f"{path}: is no Excel workbook; it starts with {start!r} ({error})") from error
    if size > UNPACKED:
        raise CovbenchError(f"{path}: unpacks to {size:,} bytes; a table of names has at most {UNPACKED:,}")


def _fit_width(where: str, cells: list[Any], width: int) -> list[Any]:
    """Cut or fill a row of a sheet, whose last cells may be absent. A value beyond the header is an error."""
    for position, cell in enumerate(cells[width:], start=width + 1):
        if _is_filled(cell):
            from openpyxl.utils import get_column_letter

            raise CovbenchError(
                f"{where} has a value in column {get_column_letter(position)}, the header has {width} columns"
            )
    return cells[:width] + [None] * (width - len(cells))


def _is_filled(cell: Any) -> bool:
    return cell is not None and bool(str(cell).strip())


def _show_cell(where: str, cell: Any) -> str:
    """Return a cell as text. 7.0 is '7': Excel keeps every number as a float."""
    if isinstance(cell, date | time | timedelta):
        raise CovbenchError(f"{where}: Excel turned a text into the date {cell}; write the cell as text")
    if isinstance(cell, str) and cell in EXCEL_ERRORS:
        raise CovbenchError(f"{where}: Excel shows the error {cell}; write the cell as text")
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if cell is None else str(cell).strip()
