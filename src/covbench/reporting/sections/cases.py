"""The cases of a test fold and each model's answers, as small pictures and compact scripts beside the pages."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from PIL import Image

from covbench.data.datasets import TASKS, publishes_patients
from covbench.data.resizing import restore_mask
from covbench.experiment.runs import RunRecord
from covbench.reporting.figures.overlays import (
    CLASS_COLOURS,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    TRUE_POSITIVE,
)
from covbench.reporting.gather import Prepared, read_prepared
from covbench.reporting.wording import plain, slug
from covbench.schema import SEGMENTATION, Task

SIDE = 160  # pixels of the longer side of a case's picture
OVERLAYS = 200  # masks are drawn for this many cases of a model, worst first
ERROR_COLOURS = (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE)
CASE_KEYS = ["image_id", "copy"]


@dataclass(frozen=True)
class TestFold:
    """The test images of a task under one protocol and the lowest seed.

    rows: a row per case; the data of every model have the same order. unit: what an image is filed under, the patient
    or, where none are published, the group.
    """

    task: Task
    protocol: str
    seed: int
    rows: pd.DataFrame
    prepared: Prepared | None
    unit: str = "Patient"

    @property
    def name(self) -> str:
        return slug(self.task.name, self.protocol)


def find_fold(data: Path, task: Task, protocol: str, runs: Sequence[RunRecord]) -> TestFold | None:
    """The cases that the runs of the lowest seed share.

    Args:
        data: Folder that holds prepared/.
        task: The task of the runs.
        protocol: The protocol of the runs.
        runs: Scored runs of the task and protocol.

    Returns:
        The test fold; None if the first run has no cases.
    """
    first = select_first(runs)
    if not first or first[0].cases.empty:
        return None
    published = task.name not in TASKS or publishes_patients(task.name)
    columns = [*CASE_KEYS, "patient_id", "group", "source", *(["truth"] if task.kind != SEGMENTATION else [])]
    rows = first[0].cases[columns].reset_index(drop=True)
    side = next((mask.shape[0] for run in first for mask in run.read_masks().values()), None)
    unit = "Patient" if published else "Group"
    return TestFold(task, protocol, first[0].run.seed, rows, read_prepared(data, task.name, side), unit)


def select_first(runs: Sequence[RunRecord]) -> list[RunRecord]:
    """The runs of the lowest seed among `runs`."""
    lowest = min((run.seed for run in runs), default=None)
    return [run for run in runs if run.seed == lowest]


def write_fold(folder: Path, fold: TestFold, cache: Path) -> None:
    """Write cases/{fold}.js, which all models share, and link the pictures of its images.

    Args:
        folder: The report's folder.
        fold: The cases to write.
        cache: Folder in which each picture is drawn once and kept.
    """
    pictures: list[int | None] = [None] * len(fold.rows)
    if fold.prepared is not None:
        positions = [fold.prepared.position.get(image) for image in fold.rows["image_id"]]
        pictures = [
            position if copy == 0 else None for position, copy in zip(positions, fold.rows["copy"], strict=True)
        ]
        needed = sorted({position for position in pictures if position is not None})
        _link_pictures(folder / "pictures" / slug(fold.task.name), fold, needed, cache)
    shared = {
        "task": plain(fold.task.name),
        "protocol": plain(fold.protocol),
        "seed": fold.seed,
        "kind": fold.task.kind,
        "classes": [plain(name) for name in fold.task.classes],
        "positive": plain(fold.task.positive),
        "folder": slug(fold.task.name),
        "ids": [plain(name) for name in fold.rows["image_id"]],
        "copies": fold.rows["copy"].tolist() if fold.rows["copy"].any() else [],
        "unit": fold.unit,
        "units": [plain(name) for name in fold.rows["patient_id" if fold.unit == "Patient" else "group"]],
        "sources": [plain(name) for name in fold.rows["source"]],
        "truth": fold.rows["truth"].tolist() if "truth" in fold.rows else [],
        "pictures": pictures,
        "masks": fold.prepared is not None and fold.prepared.masks is not None,
    }
    _write_call(folder / "cases" / f"{fold.name}.js", "addCases", shared)


def _link_pictures(folder: Path, fold: TestFold, positions: Iterable[int], cache: Path) -> None:
    assert fold.prepared is not None
    folder.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    for position in positions:
        _draw_once(cache / f"{position}.jpg", folder / f"{position}.jpg", np.asarray(fold.prepared.images[position]))
        if fold.prepared.masks is not None and not (folder / f"{position}.png").exists():
            save_classes(folder / f"{position}.png", np.asarray(fold.prepared.masks[position]))


def _draw_once(kept: Path, path: Path, image: np.ndarray) -> None:
    if not kept.exists():
        picture = Image.fromarray(image)
        picture.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
        temporary = kept.with_name(f".{os.getpid()}.{kept.name}")
        picture.save(temporary, quality=80)
        os.replace(temporary, kept)
    if not path.exists():
        try:
            os.link(kept, path)
        except OSError:  # another file system
            shutil.copyfile(kept, path)


def save_classes(path: Path, mask: np.ndarray) -> None:
    """Write class numbers as a PNG with a palette, class 0 transparent. mask: uint8, (H, W)."""
    _save_palette(path, mask, CLASS_COLOURS)


def save_errors(path: Path, truth: np.ndarray, predicted: np.ndarray) -> None:
    """Write a PNG with true positives yellow, false positives red, false negatives green, the rest transparent.

    Args:
        path: The PNG file.
        truth: True mask, bool, (H, W).
        predicted: Predicted mask, bool, (H, W).
    """
    _save_palette(path, (truth & predicted) + 2 * (~truth & predicted) + 3 * (truth & ~predicted), ERROR_COLOURS)


def _save_palette(path: Path, numbers: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> None:
    image = Image.fromarray(numbers.astype(np.uint8), mode="P")
    image.putpalette([0, 0, 0, *(part for colour in colours for part in colour)])
    image.thumbnail((SIDE, SIDE), Image.Resampling.NEAREST)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, transparency=0, optimize=False)


def write_model(folder: Path, fold: TestFold, run: RunRecord, explained: Path | None = None) -> None:
    """Write cases/{fold}/{architecture}.js: the model's answer to each case, in the order of the fold.

    Args:
        folder: The report's folder.
        fold: The cases.
        run: The model's run of the fold's seed.
        explained: The task's Grad-CAM maps (covbench.training.gradcam.explain_models), drawn as pictures beside the
            script; by default there are none.
    """
    cases = fold.rows[CASE_KEYS].merge(run.cases, on=CASE_KEYS, how="left")
    name = slug(run.architecture)
    values: dict[str, Any] = {"folder": name}
    if fold.task.kind == SEGMENTATION:
        for column in ("dice_lesion", "jaccard_lesion"):
            values[column.removesuffix("_lesion")] = _per_mille(cases[column])
        values["true"], values["predicted"] = (_lesion_pixels(fold.task, cases, word) for word in ("true", "predicted"))
        values["drawn"] = _draw_overlays(folder / "cases" / fold.name / name, fold, run, cases)
    else:
        values["predicted"] = cases["predicted"].fillna(-1).astype(int).tolist()
        values["explained"] = _draw_maps(folder / "cases" / fold.name / name, fold, run, explained)
        values["p"] = [_per_mille(cases[f"p_{number}"]) for number in range(len(fold.task.classes))]
    _write_call(folder / "cases" / fold.name / f"{name}.js", "addModel", plain(run.architecture), values)


def _per_mille(values: pd.Series) -> list[int | None]:
    return [None if np.isnan(value) else round(1000 * value) for value in values.to_numpy(float)]


def _lesion_pixels(task: Task, cases: pd.DataFrame, word: str) -> list[int]:
    return [int(number) for number in cases[[f"{word}_{name}" for name in task.lesions]].sum(axis=1)]


def _draw_overlays(folder: Path, fold: TestFold, run: RunRecord, cases: pd.DataFrame) -> list[int]:
    """Draw the worst cases and return their rows."""
    if fold.prepared is None or fold.prepared.masks is None:
        return []
    masks, drawn = run.read_masks(), []
    lesions = [fold.task.classes.index(name) for name in fold.task.lesions]
    for row in cases["dice_lesion"].sort_values(kind="stable").index[:OVERLAYS]:
        image, copy = cases.loc[row, "image_id"], int(cases.loc[row, "copy"])
        predicted, position = masks.get((image, copy)), fold.prepared.position.get(image)
        if predicted is None or position is None or copy:
            continue
        truth = np.asarray(fold.prepared.masks[position])
        predicted = restore_mask(predicted, truth.shape)
        save_classes(folder / f"{row}.png", predicted)
        save_errors(folder / f"{row}e.png", np.isin(truth, lesions), np.isin(predicted, lesions))
        drawn.append(int(row))
    return drawn


def _draw_maps(folder: Path, fold: TestFold, run: RunRecord, explained: Path | None) -> list[int]:
    """Draw the Grad-CAM maps and return the rows of their cases."""
    if explained is None or not explained.exists():
        return []
    with np.load(explained, allow_pickle=False) as archive:
        name = run.architecture
        if f"{name}/map" not in archive.files:
            return []
        maps = dict(zip(archive[f"{name}/image_id"].tolist(), archive[f"{name}/map"], strict=True))
    pairs = zip(fold.rows["image_id"], fold.rows["copy"], strict=True)
    drawn = [(row, maps[image]) for row, (image, copy) in enumerate(pairs) if copy == 0 and image in maps]
    for row, found in drawn:
        save_heat(folder / f"{row}h.png", found)
    return [row for row, _ in drawn]


def save_heat(path: Path, found: np.ndarray) -> None:
    """Write a Grad-CAM map as a PNG: higher values are warmer and more opaque. found: uint8, (H, W), 0-255."""
    coloured = (colormaps["inferno"](found) * 255).round().astype(np.uint8)
    coloured[..., 3] = found
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coloured).save(path)


def _write_call(path: Path, function: str, *arguments: str | Mapping[str, Any]) -> None:
    """Write a script that only hands over data, because a page opened from disk can load no other kind of file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = (json.dumps(value, separators=(",", ":"), allow_nan=False) for value in arguments)
    path.write_text(f"{function}({','.join(texts)})\n", encoding="utf-8")
