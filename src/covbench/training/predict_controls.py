"""Run one job, from files to files: trained classifiers predict altered images, and show where they look."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from covbench.data.augmentation import AUGMENTATIONS
from covbench.data.controls import CONTROLS, LUNG_CONTROLS, alter_images
from covbench.data.datasets import TASKS
from covbench.data.folds import Fold, open_folds, tabulate_predictions
from covbench.data.lesions import LESIONS, LUNGS, open_lesions
from covbench.data.masks import unpack_masks
from covbench.experiment.records import seal_record
from covbench.experiment.run_files import read_fingerprint
from covbench.models.saved import load_networks
from covbench.protocols import Options
from covbench.schema import Run
from covbench.system.files import write_arrays, write_json, write_predictions, write_table
from covbench.system.stage_files import seal_files
from covbench.training.batches import Batches
from covbench.training.devices import set_precision
from covbench.training.focus import FOCUS_COLUMNS, choose_shown, measure_fold
from covbench.training.frozen_features import show_test
from covbench.training.predict import divide_by_sum

log = logging.getLogger(__name__)

CHUNK = 512  # images that are altered at once


@dataclass(frozen=True)
class ControlJob:
    """Models to test, and their images.

    runs, models, splits: the seeds of one model, and paths of model.keras and of the split of each. prepared: paths of
    the task's prepared arrays. lungs, lesions: paths of lungs.npy and lesions.npz beside them. options: of the runs.
    """

    runs: Sequence[Run]
    models: Sequence[str]
    splits: Sequence[str]
    prepared: Sequence[str]
    lungs: str
    lesions: str
    options: Options


def predict_controls(job: ControlJob, outputs: Mapping[str, str]) -> None:
    """Predict the test fold of each seed with its model, once per control, and measure where the model looks.

    Args:
        job: the models and the images.
        outputs: four paths. `predictions` has schema.PREDICTION_COLUMNS, p_0 … and `control`. `focus` has
            training.focus.FOCUS_COLUMNS. `maps` has the maps of the first seed that training.focus.choose_shown
            chooses. `manifest` has the fingerprint of each run by its seed, and the grey of altered pixels.
    """
    set_precision("float32")  # as a training job predicts its own test fold
    lungs, lesions = np.load(job.lungs, mmap_mode="r"), open_lesions(job.lesions)
    parts, greys, focus = [], {}, []
    shown: dict[str, np.ndarray] = {}
    for run, path, model in zip(job.runs, job.splits, load_networks(job.models), strict=True):
        (fold,) = open_folds(path, job.prepared, ["test"], len(TASKS[run.task].classes))
        greys[str(run.seed)] = grey = measure_grey(fold)
        for control in CONTROLS:
            parts += list(predict_control(model, fold, lungs, (control, grey), job.options, run.seed))
        looked = measure_fold(model, fold, {LUNGS: find_marked(lungs, fold), LESIONS: lesions})
        focus.append(looked.focus.assign(seed=run.seed))
        shown = shown or choose_shown(looked)
        log.info("seed %d: %d images", run.seed, len(fold))
    write_predictions(pd.concat(parts, ignore_index=True), {}, outputs)
    write_table(outputs["focus"], pd.concat(focus, ignore_index=True)[[*FOCUS_COLUMNS]])
    write_arrays(outputs["maps"], shown)
    seal_files([outputs["focus"], outputs["maps"]])
    fingerprints = {
        str(run.seed): read_fingerprint(run, Path(path).parent / "manifest.json")
        for run, path in zip(job.runs, job.models, strict=True)
    }
    write_json(outputs["manifest"], seal_record({"fingerprints": fingerprints, "grey": greys}))


def find_marked(packed: np.ndarray, fold: Fold) -> dict[int, np.ndarray]:
    """Find the packed masks of a fold's images that mark something, by the row of the image in the prepared arrays."""
    masks = {position: np.asarray(packed[position]) for position in fold.positions.tolist()}
    return {position: mask for position, mask in masks.items() if mask.any()}


def measure_grey(fold: Fold) -> int:
    """Measure the mean grey of a fold: 0-255."""
    mean = np.mean([fold.images[position].mean() for position in fold.positions])
    fold.release()
    return round(float(mean))


def predict_control(
    model: keras.Model, fold: Fold, lungs: np.ndarray, control: tuple[str, int], options: Options, seed: int
) -> Iterator[pd.DataFrame]:
    """Predict the altered images of a fold, shown as the protocol shows a test fold.

    Features of a frozen backbone are not kept: no other job sees these images.

    Args:
        model: a trained classifier; raw 0-255 RGB in, probabilities out.
        fold: the images as they are.
        lungs: of all images of the prepared array, packed as data.masks.pack_masks does.
        control: a name of data.controls.CONTROLS, and the grey of altered pixels.
        options: of the run.
        seed: of the run.

    Yields:
        schema.PREDICTION_COLUMNS, p_0 … and `control`, of CHUNK images at most.
    """
    name, grey = control
    shown = np.arange(len(fold))
    if name in LUNG_CONTROLS:
        shown = shown[[bool(lungs[position].any()) for position in fold.positions]]
    augmentation = AUGMENTATIONS[show_test(options, seed).augmentation]
    for start in range(0, len(shown), CHUNK):
        part = fold.take(shown[start : start + CHUNK])
        images = part.load_images()
        altered = alter_images(images, unpack_masks(lungs[part.positions], images.shape[-1]), name, grey)
        part = replace(part, images=altered, positions=np.arange(len(part)))
        batches = Batches(part, options.batch_size, seed, augmentation=augmentation)
        raw = np.concatenate([model.predict_on_batch(batches[number][0]) for number in range(len(batches))])
        yield tabulate_predictions(part, "test", seed, divide_by_sum(raw)).assign(control=name)
