"""The README of a folder that a contestant reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from covbench.schema import CLASSIFICATION, FOLDS, Run, Task

if TYPE_CHECKING:
    from covbench.contestants.export import Exported

PAGE = """\
# {task}, {protocol}, seed {seed}

What a contestant may see: {counts}.
The classes are {classes}.

## What is here

- `task.json`: the task, its classes in order, and the number of rows of each table.
- `train.csv` and `val.csv`: a row per image, with {labels}, the patient, the group of images that belong together, \
and what the dataset publishes about it. `val.csv` is empty where the protocol validates on the test fold.
- `test.csv`: a row per image to predict, without labels.{external}
- {images}

## What to write

{answers}

Predict every row of `test.csv`{also}. Rows of `val.csv` may be predicted too.
"""

IMAGES = {
    "png": "The column `file` names an 8-bit grey PNG per image, as the networks of the benchmark see it.",
    "nifti": "The column `file` names a NIfTI slice per image, as the networks of the benchmark see it. Its first axis "
    "runs along the columns.",
    "arrays": "`train_images.npy`, `val_images.npy` and `test_images.npy` hold the images, uint8, (rows, height, "
    "width), in the order of the tables. Masks are in `train_masks.npy` and `val_masks.npy`.",
    "files": "The column `file` names the file of each image as it was published.",
}
NNUNET = " `imagesTr`, `labelsTr`, `imagesTs`, `dataset.json` and `splits_final.json` have the names of nnU-Net v2."
PROBABILITIES = """\
`predictions.csv` with the column `id` and a column per class with its name: the probability of the class. The \
probabilities of a row add up to 1. A person, or a program that gives no probabilities, writes the columns `id` and \
`label` instead, and `answers: labels` goes into contestant.yaml."""
MASKS = """\
`masks/ID.png` for every id, or `masks/ID.nii.gz`, or one file `masks.npz` with an array per id: the class number of \
each pixel, 0 for background, on the grid of the images here."""


def describe_folder(run: Run, task: Task, folds: Sequence[Exported], images: str) -> str:
    """Write the README of an exported folder.

    Args:
        run: task, protocol and seed.
        task: the task.
        folds: what the folder holds.
        images: png, arrays, nifti or files.

    Returns:
        Markdown.
    """
    external = [exported.name for exported in folds if exported.name not in FOLDS]
    segmented = task.kind != CLASSIFICATION
    nnunet = NNUNET if segmented and images in ("png", "nifti") else ""
    tables = ", ".join(f"`{name}.csv`" for name in external)
    answers = MASKS if segmented else PROBABILITIES
    return PAGE.format(
        task=run.task,
        protocol=run.protocol,
        seed=run.seed,
        counts=", ".join(f"{len(exported.ids)} images in {exported.name}" for exported in folds),
        classes=", ".join(f"{number} {name}" for number, name in enumerate(task.classes)),
        labels="masks" if segmented else "labels",
        external=f"\n- {tables}: images of other datasets to predict, without labels." if external else "",
        images=IMAGES[images] + nnunet,
        answers=answers,
        also=f" and of {tables}" if external else "",
    )
