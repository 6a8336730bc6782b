"""The report's section on the audit: what training has seen of the test images, in pictures, and what sources tell."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from covbench.audit.leakage import AUGMENTED
from covbench.audit.thumbnails import Thumbnails, read_thumbnails
from covbench.data.datasets import TASKS, dataset_of
from covbench.reporting.figures.overlays import save_picture
from covbench.reporting.figures.task_figures import Gallery, Tile
from covbench.reporting.gather import Results
from covbench.reporting.sections.data_overview import build_leak_table
from covbench.reporting.tables import Table, build_plain_table
from covbench.reporting.wording import count, plain, show, slug

log = logging.getLogger(__name__)
EXAMPLES, TILE = 2, 144
ACROSS = {
    "dataset": "Dataset",
    "other": "Other",
    "images": "Images",
    "other_images": "Images of the other",
    "exact": "Exact",
    "near": "Near",
    "mirrored": "Mirrored",
    "images_with_duplicate": "Images with a copy",
    "other_images_with_duplicate": "Of the other",
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
    "chance_auroc": "Chance AUROC",
    "note": "Note",
}


@dataclass(frozen=True)
class AuditView:
    """What a page shows of the audit; None: not made yet."""

    leaks: Table | None
    across: Table | None
    sources: Table | None
    pairs: Gallery | None


def view_audit(results: Results) -> AuditView:
    """The tables of results/audit, all tasks together."""
    across = results.audit["across"]
    duplicates = (
        build_plain_table("Pairs of copies within and across datasets", across, ACROSS) if len(across) else None
    )
    return AuditView(_tell_leaks(results.audit["splits"]), duplicates, _tell_sources(results.audit["sources"]), None)


def view_task_audit(data: Path, folder: Path, results: Results) -> AuditView:
    """The audit of one task.

    Args:
        data: the folder data/, whose thumbnails show example pairs.
        folder: the report's folder, for the pictures.
        results: of the task alone.

    Returns:
        Its tables and its example pairs.
    """
    leaks, sources, pairs = (results.audit[name] for name in ("splits", "sources", "pairs"))
    drawn = _draw_pairs(data, folder, pairs) if len(pairs) else None
    return AuditView(_tell_leaks(leaks), None, _tell_sources(sources), drawn)


def _tell_leaks(leaks: pd.DataFrame) -> Table | None:
    return build_leak_table(leaks) if len(leaks) else None


def _tell_sources(sources: pd.DataFrame) -> Table | None:
    return build_plain_table("The label without a look at the image", sources, SOURCES) if len(sources) else None


def choose_examples(pairs: pd.DataFrame) -> pd.DataFrame:
    """Of each kind the most and the least alike of the lowest seed, an image at most once; EXAMPLES at most."""
    lowest = pairs[pairs["seed"] == pairs["seed"].min()].drop_duplicates("image_id")
    chosen = []
    for _, alike in lowest.sort_values("correlation", ascending=False, kind="stable").groupby("kind", sort=False):
        positions = np.unique(np.linspace(0, len(alike) - 1, EXAMPLES).round().astype(int))
        chosen.append(alike.iloc[positions])
    return pd.concat(chosen)


def _draw_pairs(data: Path, folder: Path, pairs: pd.DataFrame) -> Gallery | None:
    rows = []
    for (task, protocol), found in pairs.groupby(["task", "protocol"], sort=False):
        path = data / "thumbnails" / f"{dataset_of(str(task))}.npz" if task in TASKS else None
        if path is None or not path.exists():
            log.warning("no example pairs of %s, %s: %s is missing", task, protocol, path)
            continue
        shown = choose_examples(found)
        tiles = list(_draw_tiles(folder, slug(task, protocol), shown, read_thumbnails(path)))
        words = f"{count(len(shown), 'pair')} of {len(found):,} over all seeds, test image first"
        rows.append((f"{task}, {protocol}", words, tiles))
    if not rows:
        return None
    caption = (
        "Test images beside training images that show the same: of each kind the most and the least alike of the "
        "lowest seed. Neighbouring slices of one scan count as near duplicates. All pairs: results/audit/pairs.csv."
    )
    return Gallery("leaked-pairs", "What training has seen of the test images", caption, rows)


def _draw_tiles(folder: Path, name: str, pairs: pd.DataFrame, thumbnails: Thumbnails) -> Iterator[Tile]:
    position = {image: number for number, image in enumerate(thumbnails.image_id)}
    for number, pair in enumerate(pairs.to_dict("records")):
        alike = "augmented" if pair["kind"] == AUGMENTED else f"{pair['kind']}, correlation {show(pair['correlation'])}"
        sides = (("test", pair["image_id"], ""), ("train", pair["train_id"], f" ({alike})"))
        for fold, image, words in sides:
            path = f"figures/audit/{name}-{number}-{fold}.png"
            save_picture(folder / path, thumbnails.images[position[image]], TILE)
            yield Tile(path, f"{fold}: {plain(image)}{words}")
