"""Datasets of a few bytes, as cards, archives and folders."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from covbench.schema import Card, Source


def make_card(*sources: Source, folders: tuple[str, ...] = ("COVID-CT", "covid_ct")) -> Card:
    return Card("COVID-CT", "ct", (), sources, folders, licence="none", citation="none")


def zip_bytes(entries: dict[str, bytes], comment: str = "") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as zipped:
        for name, content in entries.items():
            zipped.writestr(name, content)
        zipped.comment = comment.encode()
    return packed.getvalue()


def read_tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_tree(folder: Path, entries: dict[str, bytes]) -> Path:
    for name, content in entries.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
