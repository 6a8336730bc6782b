"""The card of a dataset: a Croissant file with the terms of Croissant's RAI extension.

Croissant 1.0 (Akhtar et al. 2024, DEEM, doi:10.1145/3650203.3663326) and Croissant RAI 1.0 (Jain et al. 2024,
arXiv:2407.16883) name the terms.
"""

from __future__ import annotations

import json
import mimetypes
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from covbench.data.sources.manifests import manifest_path
from covbench.data.sources.origins import name_source
from covbench.reporting.gather import Results, find_card, read_index
from covbench.reporting.places import locate_dataset_card
from covbench.reporting.sections.contradictions import flag_labels
from covbench.reporting.sections.leaderboard import describe_flags
from covbench.reporting.wording import count
from covbench.schema import INDEX_COLUMNS, Card
from covbench.system.content_hashes import hash_content
from covbench.system.files import hash_file, write_json

CONFORMS = ("http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0")
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{
        term: f"cr:{term}"
        for term in (
            *("citeAs", "column", "equivalentProperty", "extract", "field", "fileObject", "fileProperty", "fileSet"),
            *("format", "includes", "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet"),
            *("references", "regex", "repeated", "replace", "samplingRate", "separator", "source", "subField"),
            "transform",
        )
    },
}
"""The context that Croissant 1.0 prescribes."""
TYPES = {"str": "sc:Text", "int64": "sc:Integer", "float64": "sc:Float", "bool": "sc:Boolean"}
"""pandas dtype of an index column -> Croissant's name of it."""
MANY = 100
"""So many files of one suffix are described together."""


def write_dataset_cards(folder: Path, data: Path, results: Results) -> None:
    """Write a Croissant file per planned dataset.

    Args:
        folder: The report's folder.
        data: Folder that holds raw/ and index/.
        results: The results of all tasks.
    """
    for name, card in dict(map(find_card, results.runs["task"].unique())).items():
        if card is not None:
            path = folder / locate_dataset_card(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, build_croissant(name, card, data, path.parent, results.audit))


def build_croissant(
    name: str, card: Card, data: Path, folder: Path, audit: Mapping[str, pd.DataFrame]
) -> dict[str, Any]:
    """Describe a dataset in the terms of Croissant.

    Args:
        name: Name of the dataset.
        card: Its card.
        data: Folder that holds raw/ and index/; either may be missing.
        folder: Where the file will lie. Paths of files start from here.
        audit: The tables of audit.tables.AUDIT_TABLES by name.

    Returns:
        JSON-LD.
    """
    index, root = read_index(data, name), Path(os.path.relpath(data, folder)).as_posix()
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "description": f"{card.title}. {'; '.join(map(name_source, card.all_sources))}.",
        "conformsTo": list(CONFORMS),
        "license": card.licence,
        "citeAs": card.citation,
        **({"url": card.homepage} if card.homepage else {}),
        "keywords": ["COVID-19", card.modality, *(task.kind for task in card.tasks)],
        "distribution": [*_list_raw(data, name, root), *_describe_index_file(data, name, root, index)],
        "recordSet": [] if index is None else [_describe_rows(index)],
        **describe_rai(name, card, index, audit),
    }


def describe_rai(
    name: str, card: Card, index: pd.DataFrame | None, audit: Mapping[str, pd.DataFrame]
) -> dict[str, str | list[str]]:
    """Say how the dataset was made, as its datasheet states it, and what the audit has found in it.

    Args:
        name: Name of the dataset.
        card: Its card.
        index: Its index; None before it is made.
        audit: The tables of audit.tables.AUDIT_TABLES by name.

    Returns:
        Term of Croissant RAI -> text.
    """
    sheet, tasks = card.datasheet, [task.name for task in card.tasks]
    sources = audit["sources"]
    shortcuts = [
        f"{task}: {sentence}" for task in tasks for _, sentence in describe_flags({}, sources[sources["task"] == task])
    ]
    found = [*count_exclusions(index), *_count_duplicates(name, audit["across"])]
    found += [f"{word}: {sentence}" for word, sentence in flag_labels(audit, tasks)]
    return {
        "rai:dataCollection": sheet.collection,
        "rai:dataAnnotationProtocol": [sheet.labels, sheet.annotation],
        "rai:dataBiases": [sheet.biases, *shortcuts],
        "rai:dataLimitations": [sheet.limitations, *found],
        "rai:personalSensitiveInformation": [sheet.sensitive],
        "rai:dataUseCases": ["Comparing methods. Not for decisions about patients."],
    }


def count_exclusions(index: pd.DataFrame | None) -> Iterator[str]:
    """Say how many images cannot be used, and why. index: None before it is made."""
    if index is not None and index["excluded"].any():
        reasons = index.loc[index["excluded"], "reason"].value_counts()
        shown = "; ".join(f"{reason}: {number:,}" for reason, number in reasons.items())
        yield f"{int(index['excluded'].sum()):,} of {count(len(index), 'image')} cannot be used ({shown})."


def _count_duplicates(name: str, across: pd.DataFrame) -> Iterator[str]:
    for row in across[(across["dataset"] == name) & (across["other"] == name)].to_dict("records"):
        pairs = sum(int(row[kind]) for kind in ("exact", "near", "mirrored", "annotated"))
        if pairs:
            yield f"{count(int(row['images_with_duplicate']), 'image')} in {count(pairs, 'pair')} of duplicates."


def _list_raw(data: Path, name: str, root: str) -> Iterator[dict[str, Any]]:
    """Describe the fetched files: one by one with their hashes, or together if there are many of one suffix."""
    path = manifest_path(data / "raw" / name)
    if not path.is_file():
        return
    yield {
        **_describe_file("manifest", f"{root}/raw/{path.name}", "application/json", hash_file(path)),
        "description": "sha256 and size of every fetched file",
    }
    files = json.loads(path.read_text(encoding="utf-8"))["files"]
    suffixes: dict[str, list[str]] = {}
    for file in files:
        suffixes.setdefault(PurePosixPath(file).suffix, []).append(file)
    for position, (suffix, named) in enumerate(suffixes.items()):
        kind = mimetypes.guess_type(f"x{suffix}")[0] or "application/octet-stream"
        if len(named) > MANY:
            yield _describe_files(f"raw-{position}", f"{root}/raw/{name}/**/*{suffix}", kind, len(named))
            continue
        for number, file in enumerate(named):
            file_url = f"{root}/raw/{name}/{file}"
            yield {**_describe_file(f"raw-{position}-{number}", file_url, kind, files[file]["sha256"]), "name": file}


def _describe_files(identity: str, pattern: str, kind: str, number: int) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": identity,
        "name": identity,
        "description": f"{count(number, 'file')}; their sha256 are in the manifest",
        "encodingFormat": kind,
        "includes": pattern,
    }


def _describe_file(identity: str, url: str, kind: str, sha256: str) -> dict[str, Any]:
    """A file by an id without blanks, which the library does not read."""
    return {
        "@type": "cr:FileObject",
        "@id": identity,
        "name": identity,
        "contentUrl": url,
        "encodingFormat": kind,
        "sha256": sha256,
    }


def _describe_index_file(data: Path, name: str, root: str, index: pd.DataFrame | None) -> Iterator[dict[str, Any]]:
    if index is not None:
        path = data / "index" / f"{name}.parquet"
        url = f"{root}/index/{path.name}"
        yield _describe_file("index.parquet", url, "application/x-parquet", hash_content(path))


def _describe_rows(index: pd.DataFrame) -> dict[str, Any]:
    """The index as a record set: a record per image."""
    return {
        "@type": "cr:RecordSet",
        "@id": "index",
        "name": "index",
        "description": "A row per image",
        "key": {"@id": "index/image_id"},
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"index/{name}",
                "name": name,
                "description": column.meaning,
                "dataType": TYPES[column.dtype],
                "source": {"fileObject": {"@id": "index.parquet"}, "extract": {"column": name}},
            }
            for name, column in INDEX_COLUMNS.items()
            if name in index
        ],
    }
