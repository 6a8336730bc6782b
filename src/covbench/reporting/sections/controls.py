"""The section on shortcut controls: each network's score without the lungs, or on a part of the image alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.controls import CONTROLS, alter_images
from covbench.data.masks import unpack_masks
from covbench.evaluation.comparison.controls import YES
from covbench.evaluation.definitions import label_metric
from covbench.reporting.figures.overlays import save_picture
from covbench.reporting.figures.report_figure import Gallery, Tile
from covbench.reporting.gather import Prepared
from covbench.reporting.tables import Cell, Table, count_cell, describe_cover, list_reasons, number_cell, signed_cell
from covbench.reporting.wording import count, is_number, name_protocol, plain, show, show_interval, slug
from covbench.schema import CLASSIFICATION, Task

TILE = 144
UNALTERED = "unaltered"
MARK = "⚑ needs no lungs"


@dataclass(frozen=True)
class ControlSection:
    """What a task's page shows about shortcut controls.

    readings: sentences. table: a row per network, protocol and control; None: no network is planned. pictures: an
    example of each class under every control; None: nothing is prepared.
    """

    readings: list[str]
    table: Table | None
    pictures: Gallery | None


def build_control_section(
    controls: pd.DataFrame, lungs: pd.DataFrame, examples: Gallery | None = None
) -> ControlSection:
    """Build the section of a task.

    Args:
        controls: rows of one task, as results/compare/controls.csv.
        lungs: rows of the same task, as results/audit/lungs.csv.
        examples: as draw_controls.

    Returns:
        The section.
    """
    if controls.empty:
        return ControlSection([], None, None)
    return ControlSection(list(_read_lungs(lungs)), _build_table(controls), examples)


def list_flags(controls: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Say of each network that needs no lungs what it scores without them: (architecture, protocol) -> a line.

    controls: rows of one task, as results/compare/controls.csv.
    """
    flagged = controls[controls["flag"] == YES].to_dict("records")
    return {
        (row["architecture"], row["protocol"]): f"{MARK}: {show(row['altered'])} "
        f"({show_interval(row['altered_low'], row['altered_high'])}) without them, {row['images']:,.0f} images"
        for row in flagged
    }


def _read_lungs(lungs: pd.DataFrame) -> Iterator[str]:
    """Where the lung masks come from, in a sentence per size of the images."""
    for row in lungs.to_dict("records"):
        words = f"Lungs at {row['size']} pixels: {count(int(row['shipped']), 'mask')} shipped with the dataset, "
        words += f"{count(int(row['found']), 'mask')} found by a classical segmentation, "
        words += f"none in {count(int(row['none']), 'image')}."
        if is_number(row["dice"]):
            quality = f"{show(row['dice'])} ({show_interval(row['dice_low'], row['dice_high'])})"
            words += f" Its Dice with the shipped masks is {quality}."
        yield words


def _build_table(controls: pd.DataFrame) -> Table:
    rows: list[list[Cell]] = []
    concerned = []
    for row in controls.to_dict("records"):
        cells = [Cell(row["architecture"], row["architecture"]), Cell(name_protocol(row["protocol"]))]
        cells += [Cell(plain(row["control"])), *_score_cells(row)]
        cells.append(Cell(MARK if row["flag"] == YES else row["flag"]))
        rows.append(cells)
        concerned.append((f"{row['architecture']}, {name_protocol(row['protocol'])}", row["reason"]))
    headings = [("Model", ""), ("Protocol", ""), ("What is left", "; ".join(f"{k}: {v}" for k, v in CONTROLS.items()))]
    headings += [("Full image", "on the same images, unaltered · 95 % interval")]
    headings += [("Altered", "without another training · 95 % interval")]
    headings += [("Change", "altered minus full · 95 % interval"), ("Kept", "share of the score above chance")]
    headings += [("Images", "different test images, all seeds together")]
    headings += [("Flag", "without lungs, the score is within the interval of the full image and above chance")]
    notes = list_reasons(dict.fromkeys(concerned))
    notes.append("Only networks are tested so: baselines and contestants from elsewhere see no altered images.")
    caption = f"{label_metric(controls['metric'].iloc[0])} on altered images; {describe_cover(controls['covers'])}"
    return Table(caption, headings, rows, ("Model", "Protocol", "What is left"), notes)


def _score_cells(row: Mapping[Any, Any]) -> list[Cell]:
    scores = [
        number_cell(row[side], row[f"{side}_low"], row[f"{side}_high"], note=row["reason"])
        for side in ("full", "altered")
    ]
    change = signed_cell(row["change"], row["change_low"], row["change_high"])
    return [*scores, change, count_cell(row["kept"], "{:.0%}"), count_cell(row["images"])]


def draw_controls(folder: Path, task: Task, prepared: Prepared | None) -> Gallery | None:
    """Draw the first image of each class with lungs, unaltered and under every control.

    Args:
        folder: the report's folder, below which the pictures are written.
        task: the task.
        prepared: its arrays.

    Returns:
        The gallery; None for a segmentation, and before lungs are prepared.
    """
    if prepared is None or task.kind != CLASSIFICATION or not (path := prepared.folder / "lungs.npy").exists():
        return None
    packed, labels = np.load(path, mmap_mode="r"), prepared.rows["label"].to_numpy()
    rows = []
    for number, name in enumerate(task.classes):
        position = next((int(row) for row in np.flatnonzero(labels == number) if packed[row].any()), None)
        if position is not None:
            image = np.asarray(prepared.images[position])
            lungs = unpack_masks(packed[position], image.shape[1])
            tiles = _draw(folder, task, name, image, lungs)
            rows.append((name, plain(prepared.rows["image_id"].iloc[position]), tiles))
    caption = "Pixels that are not kept have the mean grey of the test fold; here, that of the picture."
    return Gallery(f"controls-{task.name}", "What the networks see", caption, rows) if rows else None


def _draw(folder: Path, task: Task, name: str, image: np.ndarray, lungs: np.ndarray) -> list[Tile]:
    grey, tiles = round(float(image.mean())), []
    pictures = {control: alter_images(image[None], lungs[None], control, grey)[0] for control in CONTROLS}
    for word, picture in ({UNALTERED: image} | pictures).items():
        path = f"figures/controls/{slug(task.name, name, word)}.png"
        save_picture(folder / path, picture, TILE)
        tiles.append(Tile(path, plain(word)))
    return tiles
