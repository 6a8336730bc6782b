"""The audit section: leakage with example pairs as pictures, duplicates, contradictory labels, and shortcuts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from covbench.audit.leakage import AUGMENTED
from covbench.audit.thumbnails import Thumbnails
from covbench.reporting.figures.overlays import save_picture
from covbench.reporting.figures.report_figure import Gallery, Tile
from covbench.reporting.gather import Results
from covbench.reporting.sections.contradictions import (
    ContradictionSection,
    build_contradiction_section,
    draw_contradictions,
    find_thumbnails,
)
from covbench.reporting.sections.data_overview import build_leak_table
from covbench.reporting.tables import Table, build_plain_table
from covbench.reporting.wording import count, plain, show, slug

EXAMPLES, TILE = 2, 144
ACROSS = {
    "dataset": "Dataset",
    "other": "Other dataset",
    "images": "Images",
    "other_images": "Images (other)",
    "exact": "Exact",
    "near": "Near",
    "mirrored": "Mirrored",
    "annotated": "Annotated",
    "images_with_duplicate": "Images with a duplicate",
    "other_images_with_duplicate": "With a duplicate (other)",
}
SOURCES = {
    "task": "Task",
    "predictor": "Predicted from",
    "images": "Images",
    "groups": "Groups",
    "distinct": "Values",
    "balanced_accuracy": "Balanced accuracy",
    "chance": "Chance",
    "auroc": "AUROC",
    "auroc_low": "AUROC, from",
    "auroc_high": "AUROC, to",
    "chance_auroc": "Chance AUROC",
    "note": "Note",
}


DATASETS = {
    "modality": "Modality",
    "datasets": "Datasets",
    "images": "Images",
    "groups": "Groups",
    "balanced_accuracy": "Balanced accuracy",
    "low": "From",
    "high": "To",
    "chance": "Chance",
    "note": "Note",
}


@dataclass(frozen=True)
class AuditSection:
    """What a page shows about the audit. None: there is no such table or picture yet."""

    leaks: Table | None
    across: Table | None
    sources: Table | None
    pairs: Gallery | None
    labels: ContradictionSection
    probe: Table | None = None


def build_audit_section(results: Results) -> AuditSection:
    """The tables of results/audit for all tasks together."""
    across = results.audit["across"]
    duplicates = (
        build_plain_table("Duplicate pairs within and across datasets", across, ACROSS) if len(across) else None
    )
    leaks, shortcuts = _tabulate_leaks(results.audit["splits"]), _tabulate_shortcuts(results.audit["sources"])
    datasets = results.audit["datasets"]
    probe = build_plain_table("Datasets told apart by the look of their images", datasets, DATASETS)
    labels = build_contradiction_section(results.audit)
    return AuditSection(leaks, duplicates, shortcuts, None, labels, probe if len(datasets) else None)


def build_task_audit_section(data: Path, folder: Path, results: Results) -> AuditSection:
    """A task's rows of results/audit, with example pairs and contradictory labels as pictures.

    Args:
        data: Folder that holds thumbnails/.
        folder: The report's folder, below which the pictures are written.
        results: The results of the task alone.

    Returns:
        The section, without the table of duplicates across datasets.
    """
    leaks, sources, pairs = (results.audit[name] for name in ("splits", "sources", "pairs"))
    drawn = _draw_pairs(data, folder, pairs) if len(pairs) else None
    pictures = draw_contradictions(data, folder, results.audit)
    labels = replace(build_contradiction_section(results.audit), pictures=pictures)
    return AuditSection(_tabulate_leaks(leaks), None, _tabulate_shortcuts(sources), drawn, labels)


def _tabulate_leaks(leaks: pd.DataFrame) -> Table | None:
    return build_leak_table(leaks) if len(leaks) else None


def _tabulate_shortcuts(sources: pd.DataFrame) -> Table | None:
    return build_plain_table("Class predicted without the image", sources, SOURCES) if len(sources) else None


def choose_examples(pairs: pd.DataFrame) -> pd.DataFrame:
    """The most and the least similar pairs of each kind in the lowest seed.

    At most EXAMPLES pairs per kind; an image occurs at most once.
    """
    lowest = pairs[pairs["seed"] == pairs["seed"].min()].drop_duplicates("image_id")
    chosen = []
    for _, alike in lowest.sort_values("correlation", ascending=False, kind="stable").groupby("kind", sort=False):
        positions = np.unique(np.linspace(0, len(alike) - 1, EXAMPLES).round().astype(int))
        chosen.append(alike.iloc[positions])
    return pd.concat(chosen)


def _draw_pairs(data: Path, folder: Path, pairs: pd.DataFrame) -> Gallery | None:
    rows = []
    for (task, protocol), found in pairs.groupby(["task", "protocol"], sort=False):
        thumbnails = find_thumbnails(data, str(task), f"{task}, {protocol}: no example pairs")
        if thumbnails is None:
            continue
        shown = choose_examples(found)
        tiles = list(_draw_tiles(folder, slug(task, protocol), shown, thumbnails))
        words = f"{len(shown)} of {count(len(found), 'pair')} over all seeds, test image first"
        rows.append((f"{task}, {protocol}", words, tiles))
    if not rows:
        return None
    caption = (
        "Each test image is shown beside the training image that it matches. For each kind of match, these are the "
        "most and the least similar pairs of the lowest seed. Neighbouring slices of one scan count as "
        "near-duplicates. All pairs: results/audit/pairs.csv."
    )
    return Gallery("leaked-pairs", "Example pairs: test images and their matches in training", caption, rows)


def _draw_tiles(folder: Path, name: str, pairs: pd.DataFrame, thumbnails: Thumbnails) -> Iterator[Tile]:
    position = {image: number for number, image in enumerate(thumbnails.image_id)}
    for number, pair in enumerate(pairs.to_dict("records")):
        alike = "augmented" if pair["kind"] == AUGMENTED else f"{pair['kind']}, correlation {show(pair['correlation'])}"
        sides = (("test", pair["image_id"], ""), ("train", pair["train_id"], f" ({alike})"))
        for fold, image, words in sides:
            path = f"figures/audit/{name}-{number}-{fold}.png"
            save_picture(folder / path, thumbnails.images[position[image]], TILE)
            yield Tile(path, f"{fold}: {plain(image)}{words}")
