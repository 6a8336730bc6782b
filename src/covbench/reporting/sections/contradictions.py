"""Contradictory labels in the audit section and on a dataset's card: tables, pictures and flags."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from covbench.audit.contradictions import UNLISTED
from covbench.audit.thumbnails import Thumbnails, read_thumbnails
from covbench.data.datasets import TASKS, dataset_of
from covbench.reporting.figures.overlays import save_picture
from covbench.reporting.figures.report_figure import Gallery, Tile
from covbench.reporting.tables import Table, build_plain_table
from covbench.reporting.wording import count, plain, show, slug

log = logging.getLogger(__name__)
SHOWN, PICTURES, TILE = 20, 8, 144
"""Findings and pictures of a patient that are drawn at most, and pixels of a picture."""
ONE = ("task", "image_id", "label", "official_fold", "audited")
OTHER = ("other_task", "other_id", "other_label", "other_official_fold", "other_audited")
"""What is told about the first and the second image of a pair."""
PAIRS = {
    "task": "Task",
    "image_id": "Image",
    "label": "Label",
    "official_fold": "Authors' fold",
    "audited": "Audited split",
    "other_task": "Task of the duplicate",
    "other_id": "Duplicate",
    "other_label": "Its label",
    "other_official_fold": "Its authors' fold",
    "other_audited": "Its audited split",
    "kind": "Kind",
    "correlation": "Correlation",
}
PATIENTS = {"task": "Task", "patient_id": "Patient", "images": "Images", "labels": "Labels", "image_ids": "Image ids"}
DROPPED = {
    "task": "Task",
    "image_id": "Dropped image",
    "label": "Label",
    "official_fold": "Authors' fold",
    "because": "Because of",
    "other_id": "Image in a later fold",
    "other_label": "Its label",
    "other_official_fold": "Its authors' fold",
    "labels": "Labels",
}


@dataclass(frozen=True)
class ContradictionSection:
    """What a page shows about contradictory labels and dropped rows. None: nothing was found."""

    pairs: Table | None
    patients: Table | None
    dropped: Table | None
    pictures: Gallery | None

    @property
    def found(self) -> bool:
        """Whether there is anything to show."""
        return any((self.pairs, self.patients, self.dropped))


def build_contradiction_section(audit: Mapping[str, pd.DataFrame]) -> ContradictionSection:
    """Build the tables without pictures. audit: the tables of audit.tables.AUDIT_TABLES by name."""
    pairs, dropped = audit["contradictions"], audit["dropped"]
    patients = _count_patients(audit["mixed_patients"])
    if len(dropped):
        dropped = dropped.assign(labels=np.where(dropped["contradictory"] == 1, "contradictory", ""))
    of_patients = f"Contradictory labels: {count(len(patients), 'patient')} with images of several classes"
    of_dropped = f"{count(len(dropped), 'row')} dropped from the authors' folds by the audited split"
    return ContradictionSection(
        _tabulate(f"Contradictory labels: {count(len(pairs), 'pair')} of duplicates", pairs, PAIRS),
        _tabulate(of_patients, patients, PATIENTS),
        _tabulate(of_dropped, dropped, DROPPED),
        None,
    )


def _tabulate(caption: str, rows: pd.DataFrame, headings: Mapping[str, str]) -> Table | None:
    return build_plain_table(caption, rows, headings) if len(rows) else None


def _count_patients(rows: pd.DataFrame) -> pd.DataFrame:
    """Make one row per patient of the table `mixed_patients`, with the columns of PATIENTS."""
    found = [
        {
            "task": task,
            "patient_id": patient,
            "images": len(images),
            "labels": ", ".join(f"{number} {label}" for label, number in images["label"].value_counts().items()),
            "image_ids": ", ".join(images["image_id"]),
        }
        for (task, patient), images in rows.groupby(["task", "patient_id"], sort=False)
    ]
    return pd.DataFrame(found, columns=list(PATIENTS))


def flag_labels(audit: Mapping[str, pd.DataFrame], tasks: Sequence[str]) -> list[tuple[str, str]]:
    """Count the findings about some tasks, for the card of their dataset.

    audit: the tables of audit.tables.AUDIT_TABLES by name. tasks: names of the dataset's tasks.

    Returns a word and a sentence per kind of finding.
    """
    pairs = audit["contradictions"]
    pairs = pairs[pairs["task"].isin(tasks) | pairs["other_task"].isin(tasks)]
    mixed, dropped = (audit[name][audit[name]["task"].isin(tasks)] for name in ("mixed_patients", "dropped"))
    flags = []
    if len(pairs):
        elsewhere = int((pairs["task"] != pairs["other_task"]).sum())
        words = f"{count(len(pairs), 'pair')} of duplicates with different labels, {elsewhere} of them across datasets."
        flags.append((count(len(pairs), "contradictory label"), words))
    if len(mixed):
        patients = len(mixed.drop_duplicates(["task", "patient_id"]))
        words = f"{count(len(mixed), 'image')} of patients who have images of several classes."
        flags.append((f"{count(patients, 'patient')} with several labels", words))
    unlisted = int((dropped["because"] == UNLISTED).sum())
    if unlisted:
        flags.append(
            (
                f"{count(unlisted, 'row')} on no list",
                "The authors' split does not name these images, and the audited split leaves them out.",
            )
        )
    dropped = dropped[dropped["because"] != UNLISTED]
    if len(dropped):
        contradictory = int(dropped["contradictory"].sum())
        words = f"Their patient or a duplicate is in a later fold; {contradictory} of them have another label there."
        flags.append((f"{count(len(dropped), 'row')} dropped from the authors' folds", words))
    return flags


def draw_contradictions(data: Path, folder: Path, audit: Mapping[str, pd.DataFrame]) -> Gallery | None:
    """Draw both images of each contradictory pair, and the images of each patient with several labels.

    Args:
        data: Folder that holds thumbnails/.
        folder: The report's folder, below which the pictures are written.
        audit: The tables of audit.tables.AUDIT_TABLES by name, rows of one task.

    Returns:
        The gallery, with at most SHOWN pairs and SHOWN patients. None: nothing was found, or no thumbnails are there.
    """
    pairs, mixed = audit["contradictions"], audit["mixed_patients"]
    pictures = {task: _read_pictures(data, task) for task in {*pairs["task"], *pairs["other_task"], *mixed["task"]}}
    rows = []
    for _, pair in pairs.head(SHOWN).iterrows():
        both = pd.DataFrame([pair[list(ONE)].tolist(), pair[list(OTHER)].tolist()], columns=ONE)
        words = f"{pair['kind']}, correlation {show(pair['correlation'])}"
        rows.append(("Duplicates", words, _draw_tiles(folder, pictures, both)))
    for (_, patient), images in list(mixed.groupby(["task", "patient_id"], sort=False))[:SHOWN]:
        tiles = _draw_tiles(folder, pictures, images.head(PICTURES))
        rows.append((f"Patient {plain(patient)}", count(len(images), "image"), tiles))
    rows = [row for row in rows if row[2]]
    if not rows:
        return None
    caption = (
        f"Duplicates whose labels differ, and patients with images of several classes; at most {SHOWN} of each. "
        "All: results/audit/contradictions.csv and results/audit/mixed_patients.csv."
    )
    return Gallery("contradictory-labels", "Contradictory labels", caption, rows)


def find_thumbnails(data: Path, task: str, lack: str) -> Thumbnails | None:
    """Read the thumbnails of a task's dataset.

    Args:
        data: Folder that holds thumbnails/.
        task: Name of the task.
        lack: What the report lacks without them, for the log.

    Returns:
        None if they are missing. A warning says so.
    """
    path = data / "thumbnails" / f"{dataset_of(task)}.npz" if task in TASKS else None
    if path is None or not path.exists():
        log.warning("%s, because %s is missing", lack, path)
        return None
    return read_thumbnails(path)


def _read_pictures(data: Path, task: str) -> dict[str, tuple[int, np.ndarray]]:
    """Return the number and the thumbnail of each image of a task's dataset; nothing if they are missing."""
    thumbnails = find_thumbnails(data, task, f"{task}: no pictures of contradictory labels")
    if thumbnails is None:
        return {}
    numbered = enumerate(thumbnails.images)
    return dict(zip(thumbnails.image_id.tolist(), numbered, strict=True))


def _draw_tiles(
    folder: Path, pictures: Mapping[str, Mapping[str, tuple[int, np.ndarray]]], images: pd.DataFrame
) -> list[Tile]:
    """Write the pictures of some images, as far as their thumbnails are there.

    Args:
        folder: The report's folder.
        pictures: What _read_pictures returns, by task.
        images: The columns ONE of each image.

    Returns:
        Their tiles.
    """
    tiles = []
    for task, image, label, official, audited in images[list(ONE)].itertuples(index=False):
        if image in pictures[task]:
            number, picture = pictures[task][image]
            path = f"figures/audit/{slug(task)}-{number}.png"
            save_picture(folder / path, picture, TILE)
            fold = f", authors' {official} fold" if official else ""
            tiles.append(Tile(path, f"{label}: {plain(image)}{fold} ({audited})"))
    return tiles
