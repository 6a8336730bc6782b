"""The section on where networks look: how well their Grad-CAM maps agree with lungs and lesions, the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.lesions import REGIONS, open_lesions
from covbench.data.masks import unpack_masks
from covbench.experiment.runs import RunRecord
from covbench.experiment.workflow_files import controls_folder
from covbench.reporting.figures.overlays import overlay_heat, save_picture
from covbench.reporting.figures.report_figure import Gallery, Tile
from covbench.reporting.gather import Prepared
from covbench.reporting.tables import (
    Cell,
    Table,
    count_cell,
    describe_cover,
    list_reasons,
    number_cell,
    prefer_protocols,
    signed_cell,
)
from covbench.reporting.wording import count, name_protocol, plain, slug
from covbench.system.content_hashes import hash_content
from covbench.system.stage_files import find_damage

TILE = 144
LEGEND = "Blue line: lungs. Orange line: lesions."


@dataclass(frozen=True)
class FocusSection:
    """What a task's page shows about where networks look.

    readings: a sentence per region. table: a row per network, protocol and region; None: no network is planned.
    pictures: by region, the maps that agree least with it.
    """

    readings: list[str]
    table: Table | None
    pictures: Sequence[Gallery]


@dataclass(frozen=True)
class Marked:
    """Packed masks of prepared images. lungs: uint8, (N, H, ceil(W / 8)). lesions: by row, of some images."""

    lungs: np.ndarray
    lesions: Mapping[int, np.ndarray]

    def find(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the lungs and the lesions of an image; without any, nothing is marked."""
        lungs = np.asarray(self.lungs[row])
        return lungs, self.lesions.get(row, np.zeros_like(lungs))


def build_focus_section(focus: pd.DataFrame, pictures: Sequence[Gallery] = ()) -> FocusSection:
    """Build the section of a task. focus: rows of one task, as results/compare/focus.csv. pictures: as draw_focus."""
    measured = focus[focus["hits"].notna()]
    if measured.empty:
        return FocusSection([], None, pictures)
    return FocusSection(list(_read_focus(measured)), _build_table(focus), pictures)


def _read_focus(measured: pd.DataFrame) -> Iterator[str]:
    """Say of how many networks the maps hit a region more often than chance."""
    (protocol, *_) = prefer_protocols(measured["protocol"])
    for region in REGIONS:
        rows = measured[(measured["protocol"] == protocol) & (measured["region"] == region)]
        if rows.empty:
            continue
        better, worse = int((rows["gain_low"] > 0).sum()), int((rows["gain_high"] < 0).sum())
        words = f"{name_protocol(protocol)}: the maps of {better} of {count(len(rows), 'network')} hit the {region} "
        words += f"more often than a random point does ({rows['chance'].mean():.0%})"
        yield words + (f", those of {worse} more rarely." if worse else ".")


def _build_table(focus: pd.DataFrame) -> Table:
    rows: list[list[Cell]] = []
    concerned = []
    for row in focus.sort_values(["region", "energy"], kind="stable").to_dict("records"):
        cells = [Cell(row["architecture"], row["architecture"]), Cell(name_protocol(row["protocol"]))]
        rows.append([*cells, Cell(plain(row["region"])), *_score_cells(row)])
        place = f"{row['architecture']}, {name_protocol(row['protocol'])}, {row['region']}"
        concerned.append((place, row["reason"]))
    headings = [("Model", ""), ("Protocol", ""), ("Region", "lesions: right answers alone, where masks were shipped")]
    headings += [
        ("Hits", "share of images whose map is largest in the region or half a cell beside it · 95 % interval")
    ]
    headings += [("Chance", "share of the image that counts as a hit"), ("Hits minus chance", "95 % interval")]
    headings += [("Energy", "share of a map's sum in the region · 95 % interval")]
    headings += [("Area", "share of the image: the energy of an even map")]
    headings += [("Images", "different test images, all seeds together")]
    caption = f"Agreement of Grad-CAM maps with lungs and lesions; {describe_cover(focus['covers'])}"
    return Table(caption, headings, rows, ("Model", "Protocol", "Region"), list_reasons(dict.fromkeys(concerned)))


def _score_cells(row: Mapping[Any, Any]) -> list[Cell]:
    hits, energy = (
        number_cell(row[name], row[f"{name}_low"], row[f"{name}_high"], note=row["reason"])
        for name in ("hits", "energy")
    )
    gain = signed_cell(row["gain"], row["gain_low"], row["gain_high"])
    return [hits, number_cell(row["chance"]), gain, energy, number_cell(row["area"]), count_cell(row["images"])]


def draw_focus(folder: Path, scored: Sequence[RunRecord], prepared: Prepared | None) -> list[Gallery]:
    """Draw the images whose maps agree least with each region, a row per network, the network that agrees least first.

    Args:
        folder: the report's folder, below which the pictures are written.
        scored: the scored runs of one task.
        prepared: its arrays.

    Returns:
        A gallery per region with maps, of the protocol that stands for the models.
    """
    if prepared is None or not scored or not (prepared.folder / "lungs.npy").exists():
        return []
    (protocol, *_) = prefer_protocols(record.protocol for record in scored)
    shown = read_maps(record for record in scored if record.protocol == protocol)
    marked = Marked(
        np.load(prepared.folder / "lungs.npy", mmap_mode="r"), open_lesions(prepared.folder / "lesions.npz")
    )
    galleries = []
    for region in REGIONS:
        found = {name: maps for name, maps in shown.items() if f"{region}/map" in maps}
        ordered = sorted(found, key=lambda name: float(found[name][f"{region}/energy"].mean()))
        rows = [(name, "", _draw_row(folder, (region, name), found[name], (prepared, marked))) for name in ordered]
        if rows:
            caption = f"{name_protocol(protocol)}, first seed. Warm: where the network looked. {LEGEND} "
            caption += f"The number is the share of the map in the {region}."
            title = f"Maps that agree least with the {region}"
            galleries.append(Gallery(f"focus-{region}-{scored[0].task}", title, caption, rows))
    return galleries


def read_maps(records: Iterable[RunRecord]) -> dict[str, dict[str, np.ndarray]]:
    """Read the maps of networks by name, as training.focus.choose_shown chose them. Other models have none."""
    shown = {}
    for record in records:
        path = record.root / controls_folder(record.task, record.protocol, record.architecture) / "maps.npz"
        if path.exists() and not find_damage(path, hash_content):
            with np.load(path) as maps:
                shown[record.architecture] = dict(maps)
    return shown


def _draw_row(
    folder: Path, name: tuple[str, str], maps: dict[str, np.ndarray], shown_on: tuple[Prepared, Marked]
) -> list[Tile]:
    """Draw the maps of a region and a network, `name`, on their images."""
    (prepared, marked), tiles = shown_on, []
    keys = [f"{name[0]}/{key}" for key in ("image_id", "energy", "map")]
    for image, energy, found in zip(*(maps[key] for key in keys), strict=True):
        row = prepared.position[str(image)]
        picture = np.asarray(prepared.images[row])
        outlines = [unpack_masks(mask, picture.shape[1]) for mask in marked.find(row)]
        path = f"figures/focus/{slug(prepared.folder.parent.name, *name, str(image))}.png"
        save_picture(folder / path, overlay_heat(picture, found, outlines), TILE)
        tiles.append(Tile(path, f"{plain(str(image))}: {energy:.0%}"))
    return tiles
