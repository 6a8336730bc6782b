"""Run one job, from files to files: trained models predict the images of another dataset that are new to them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from covbench.audit.groups import add_groups
from covbench.data.datasets import TASKS, publishes_patients, usable_rows
from covbench.data.external import select_unseen
from covbench.data.folds import (
    ClassMaps,
    Fold,
    Predicted,
    count_subjects,
    open_prepared,
    select_fold,
    write_predicted,
)
from covbench.experiment.records import seal_record
from covbench.experiment.run_files import read_fingerprint
from covbench.models.saved import load_networks
from covbench.protocols import Options
from covbench.schema import Run
from covbench.system.files import write_json
from covbench.system.processors import describe_processor
from covbench.training.devices import describe_device, set_precision
from covbench.training.predict import predict_fold

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExternalJob:
    """Models to test, and the images of another dataset.

    runs, models: the seeds of one model, and the path of model.keras of each. options: of these runs.
    external: the task that they are tested on. index, prepared: paths of its dataset's index and of its arrays at the
    models' size. duplicates: path of the duplicates between both datasets. within: of those within the external one.
    threads: as in the config.
    """

    runs: Sequence[Run]
    models: Sequence[str]
    options: Options
    external: str
    index: str
    duplicates: str
    within: str
    prepared: Sequence[str]
    threads: int

    def select_images(self) -> tuple[Fold, dict[str, int | None]]:
        """Select the images that are new to the models' dataset, as a test fold, and the counts of manifest.json."""
        index, duplicates, within = map(pd.read_parquet, (self.index, self.duplicates, self.within))
        rows = add_groups(usable_rows(index, TASKS[self.external]), within)
        unseen, counts = select_unseen(rows, duplicates, self.runs[0].task, self.external)
        subjects = {"images": len(unseen)} | count_subjects(unseen, publishes_patients(self.external))
        classes = len(TASKS[self.external].classes)
        return select_fold(*open_prepared(self.prepared), unseen, "test", classes), counts | subjects


def predict_external(job: ExternalJob, outputs: Mapping[str, str]) -> None:
    """Predict the unseen images of another dataset with the model of each seed, and write the predictions seed by seed.

    Images are shown as the run's protocol shows its own test fold. If no image is unseen, the tables are empty.

    Args:
        job: the models and the images.
        outputs: three paths. `predictions` has schema.PREDICTION_COLUMNS with `truth` as in data.external.SHARED, and
            p_0 … of the models' own classes. `masks`, only where pixels are labelled, has the models' own classes in
            the order of the rows. `manifest` has the counts of images, the fingerprint of each run by its seed, and
            the machine.
    """
    classes = TASKS[job.runs[0].task].classes
    fold, counts = job.select_images()
    set_precision("float32")  # as a training job predicts its own test fold
    log.info("%s models on %s: %d of %d images are new", job.runs[0].task, job.external, len(fold), counts["usable"])
    write_predicted(_predict_seeds(job, fold), outputs)
    fingerprints = {
        str(run.seed): read_fingerprint(run, Path(path).with_name("manifest.json"))
        for run, path in zip(job.runs, job.models, strict=True)
    }
    facts = {"external": job.external, "classes": list(classes), **counts, "fingerprints": fingerprints}
    machine = {"device": describe_device(), **describe_processor(), "threads": job.threads}
    write_json(outputs["manifest"], seal_record(facts | machine))


def _predict_seeds(job: ExternalJob, fold: Fold) -> list[Predicted]:
    if not len(fold):
        nothing = _predict_nothing(fold, len(TASKS[job.runs[0].task].classes))
        return [Predicted(fold, "test", run.seed, nothing) for run in job.runs]
    parts = []
    for run, model in zip(job.runs, load_networks(job.models), strict=True):
        parts.append(predict_fold(model, fold, "test", job.options, run.seed))
        log.info("seed %d: %d images", run.seed, len(fold))
    return parts


def _predict_nothing(fold: Fold, classes: int) -> np.ndarray | ClassMaps:
    """Return the values that predict_fold would predict for a fold without images."""
    if fold.masks is None:
        return np.empty((0, classes), np.float32)
    return ClassMaps(np.empty((0, *fold.images.shape[1:]), np.uint8))
