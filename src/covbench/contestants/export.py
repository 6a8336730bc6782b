"""Write what a contestant may see of a split: images, labels of its training and validation folds, and no others."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pandas as pd

from covbench.audit.unseen import list_external_sets, open_unseen
from covbench.contestants.readme import describe_folder
from covbench.data.datasets import TASKS, dataset_of
from covbench.data.folds import Fold, open_folds
from covbench.schema import CLASSIFICATION, FOLDS, CovbenchError, Run, Task
from covbench.system.files import write_json, write_table

SUFFIXES = {"png": ".png", "nifti": ".nii.gz"}
FACTS = ("source", "view", "official_fold")
"""Columns of the index that the tables of the training and validation folds hold too."""
CHANNEL = "_0000"  # nnU-Net's name for the first channel
UPRIGHT = np.diag([-1.0, -1.0, 1.0, 1.0])  # columns run to the patient's left, rows to the back
EPOCH = (0, 0)  # date of every file: that of a published file can tell its class


@dataclass(frozen=True)
class Exported:
    """A fold as it is given to a contestant.

    name: train, val or test, or the task of an external test set. fold: its images. ids: (R,), opaque, in the order of
    the fold. labelled: whether its labels are given too.
    """

    name: str
    fold: Fold
    ids: list[str]
    labelled: bool

    @cached_property
    def order(self) -> list[int]:
        """Rows in the order of their ids, in which everything is written: the fold's own order can tell a class."""
        return sorted(range(len(self.ids)), key=self.ids.__getitem__)


@dataclass(frozen=True)
class Source:
    """The published files of a dataset. index: schema.INDEX_COLUMNS. raw: the folder that holds them."""

    index: pd.DataFrame
    raw: Path


def name_rows(task: str, name: str, rows: pd.DataFrame) -> list[str]:
    """Name the rows of a fold so that a name says nothing about a class or a patient, and stays the same for all seeds.

    Args:
        task: name of the task whose dataset holds the images.
        name: of the fold. An image that is in two folds gets two names.
        rows: of the fold, with image_id and copy.

    Returns:
        16 hexadecimal digits for each row.
    """
    keys = (f"{dataset_of(task)}/{name}/{i}/{c}" for i, c in zip(rows["image_id"], rows["copy"], strict=True))
    return [hashlib.sha256(key.encode()).hexdigest()[:16] for key in keys]


def open_exported(task: str, split: str, prepared: Sequence[str]) -> list[Exported]:
    """Open the folds of a split as a contestant gets them.

    Args:
        task: name of the task.
        split: path of the split.
        prepared: paths of the arrays.

    Returns:
        As list_folds.
    """
    opened = open_folds(split, prepared, FOLDS, len(TASKS[task].classes))
    return list_folds(task, dict(zip(FOLDS, opened, strict=True)))


def open_external(task: str, files: Mapping[str, str]) -> list[Exported]:
    """Open the images of other datasets that are new to a task's models, as a contestant gets them.

    Args:
        task: name of the task.
        files: as experiment.plan.list_external_files.

    Returns:
        A set for each of the other tasks that has such images.
    """
    opened = [(external.task, open_unseen(task, external)[0]) for external in list_external_sets(files)]
    return [
        Exported(other, fold, name_rows(other, "external", fold.rows), labelled=False)
        for other, fold in opened
        if len(fold)
    ]


def list_folds(task: str, folds: Mapping[str, Fold]) -> list[Exported]:
    """List the folds of a split as a contestant gets them.

    Where the test fold also validates, as in the study, its images are left out of the validation fold: their labels
    would be those of the test.

    Args:
        task: name of the task.
        folds: train, val and test by name.

    Returns:
        The folds with names for their rows.
    """
    tested = set(folds["test"].rows["image_id"])
    unseen = np.flatnonzero(~folds["val"].rows["image_id"].isin(tested))
    chosen = {**folds, "val": folds["val"].take(unseen)}
    return [Exported(name, fold, name_rows(task, name, fold.rows), name != "test") for name, fold in chosen.items()]


def export_folds(
    folder: Path, run: Run, task: Task, folds: Sequence[Exported], source: Source, images: str, link: bool = False
) -> None:
    """Write folds into a new folder. docs/reference/contestants.md describes the files.

    Args:
        folder: is made.
        run: task, protocol and seed; its architecture is not used.
        task: the task.
        folds: as list_folds returns them, and external test sets.
        source: the published files.
        images: png, arrays or nifti, which show what the networks see; or files, which are the published ones.
        link: link published files of the labelled folds instead of copying them. A link shows where the file lies.

    Raises:
        CovbenchError: `files` is asked, and the task has no published file for each image, shows augmented copies, or
            images of other datasets are among the folds.
    """
    if images == "files" and any(exported.name not in FOLDS for exported in folds):
        raise CovbenchError("images: files are those of the task's own dataset; choose png, nifti or arrays")
    folder.mkdir(parents=True)
    writers = {"png": _write_pictures, "nifti": _write_pictures, "arrays": _write_arrays, "files": _write_files}
    facts = source.index.set_index("image_id")
    for exported in folds:
        write: Callable[..., dict[str, list[str]]] = writers[images]
        columns = write(folder, exported, SUFFIXES.get(images, ""), facts, source.raw, link)
        table = _tabulate(exported, task, facts).assign(**columns)
        write_table(folder / f"{exported.name}.csv", table)
    write_json(folder / "task.json", _describe_task(run, task, folds, images))
    if images in SUFFIXES and task.kind != CLASSIFICATION:
        _write_nnunet(folder, task, folds, SUFFIXES[images])
    (folder / "README.md").write_text(describe_folder(run, task, folds, images), encoding="utf-8")
    for path in folder.rglob("*"):
        os.utime(path, EPOCH, follow_symlinks=False)


def _tabulate(exported: Exported, task: Task, facts: pd.DataFrame) -> pd.DataFrame:
    """Tabulate a fold in the order of its ids: the ids alone for a test, and what is known of each row otherwise."""
    rows = exported.fold.rows.iloc[exported.order]
    table = pd.DataFrame({"id": [exported.ids[row] for row in exported.order]})
    if not exported.labelled:
        return table
    for name in ("image_id", "copy", "patient_id", "group"):
        table[name] = rows[name].to_numpy()
    for name in FACTS:
        table[name] = facts.loc[rows["image_id"], name].to_numpy()
    if task.kind == CLASSIFICATION:
        table["label"] = [task.classes[number] for number in rows["label"]]
    return table


def _write_pictures(
    folder: Path, exported: Exported, suffix: str, facts: pd.DataFrame, raw: Path, link: bool
) -> dict[str, list[str]]:
    """Write a picture per row; of a segmentation in nnU-Net's folders. Returns the columns that name the files."""
    segmented = exported.fold.masks is not None
    place, channel = _nnunet_folder(exported.name, segmented), CHANNEL if segmented else ""
    names: dict[str, list[str]] = {"file": []}
    for row in exported.order:
        image, mask = exported.fold.load(row)
        name = f"{place}/{exported.ids[row]}{channel}{suffix}"
        write_picture(folder / name, image)
        names["file"].append(name)
        if exported.labelled and mask is not None:
            annotated = f"labelsTr/{exported.ids[row]}{suffix}"
            write_picture(folder / annotated, mask)
            names.setdefault("mask", []).append(annotated)
    exported.fold.release()
    return names


def _nnunet_folder(name: str, segmented: bool) -> str:
    if not segmented:
        return "images" if name in FOLDS else f"external/{name}"
    return {"train": "imagesTr", "val": "imagesTr", "test": "imagesTs"}.get(name, f"external/{name}")


def write_picture(path: Path, values: np.ndarray) -> None:
    """Write uint8, (H, W), as PNG, or as a NIfTI slice with the columns as its first axis."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        if not cv2.imwrite(str(path), values):  # OpenCV says no more about a full disk
            raise OSError(errno.EIO, "cannot be written", str(path))
    else:
        nibabel.save(nibabel.Nifti1Image(values.T[:, :, None], UPRIGHT), path)


def _write_arrays(
    folder: Path, exported: Exported, suffix: str, facts: pd.DataFrame, raw: Path, link: bool
) -> dict[str, list[str]]:
    """Write NAME_images.npy and, if labelled, NAME_masks.npy, uint8, (R, H, W), in the order of the table."""
    fold, order = exported.fold, exported.order
    shape = (len(order), *fold.images.shape[1:])
    path = folder / f"{exported.name}_images.npy"
    images = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    masks = None
    if exported.labelled and fold.masks is not None:
        masks = np.lib.format.open_memmap(folder / f"{exported.name}_masks.npy", "w+", np.uint8, shape)
    for number, row in enumerate(order):
        images[number], mask = fold.load(row)
        if masks is not None:
            masks[number] = mask
    fold.release()
    return {}


def _write_files(
    folder: Path, exported: Exported, suffix: str, facts: pd.DataFrame, raw: Path, link: bool
) -> dict[str, list[Any]]:
    """Copy or link the published files, each under the name of its row."""
    rows = exported.fold.rows
    if exported.fold.masks is not None or (facts.loc[rows["image_id"], "frame"] >= 0).any() or (rows["copy"] > 0).any():
        raise CovbenchError(
            "images: files needs a published file for each image, and this task has slices of volumes or augmented "
            "copies; choose png, nifti or arrays"
        )
    place = _nnunet_folder(exported.name, segmented=False)
    (folder / place).mkdir(parents=True, exist_ok=True)
    names = []
    for row in exported.order:
        published = raw / str(facts.loc[rows["image_id"].iloc[row], "path"])
        name = f"{place}/{exported.ids[row]}{published.suffix.lower()}"
        if link and exported.labelled:
            (folder / name).symlink_to(published.resolve())
        else:
            shutil.copyfile(published, folder / name)
        names.append(name)
    return {"file": names}


def _describe_task(run: Run, task: Task, folds: Sequence[Exported], images: str) -> dict[str, Any]:
    height, width = folds[0].fold.images.shape[1:]
    return {
        "task": task.name,
        "kind": task.kind,
        "classes": list(task.classes),
        "positive": task.positive,
        "lesions": list(task.lesions),
        "protocol": run.protocol,
        "seed": run.seed,
        "images": images,
        "size": None if images == "files" else [height, width],
        "folds": {exported.name: len(exported.ids) for exported in folds},
        "external": [exported.name for exported in folds if exported.name not in FOLDS],
    }


def _write_nnunet(folder: Path, task: Task, folds: Sequence[Exported], suffix: str) -> None:
    """Write dataset.json and splits_final.json of nnU-Net v2."""
    ids = {exported.name: [exported.ids[row] for row in exported.order] for exported in folds}
    described = {
        "channel_names": {"0": "grey"},
        "labels": {name: number for number, name in enumerate(task.classes)},
        "numTraining": len(ids["train"]) + len(ids["val"]),
        "file_ending": suffix,
    }
    write_json(folder / "dataset.json", described)
    (folder / "splits_final.json").write_text(json.dumps([{"train": ids["train"], "val": ids["val"]}]))
