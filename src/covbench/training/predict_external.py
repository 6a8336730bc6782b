"""Run one job, from files to files: trained models predict the images of another dataset that are new to them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from covbench.audit.unseen import ExternalSet, open_unseen
from covbench.data.datasets import TASKS
from covbench.data.folds import Fold, Predicted, predict_nothing, write_predicted
from covbench.experiment.run_files import describe_external
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

    runs, models: the seeds of one model, and the path of model.keras of each. options: of these runs. images: of the
    other dataset. threads: as in the config.
    """

    runs: Sequence[Run]
    models: Sequence[str]
    options: Options
    images: ExternalSet
    threads: int


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
    fold, counts = open_unseen(job.runs[0].task, job.images)
    set_precision("float32")  # as a training job predicts its own test fold
    log.info("%s models on %s: %d of %d images are new", job.runs[0].task, job.images.task, len(fold), counts["usable"])
    write_predicted(_predict_seeds(job, fold), outputs)
    folders = [Path(path).parent for path in job.models]
    machine = {"device": describe_device(), **describe_processor(), "threads": job.threads}
    write_json(outputs["manifest"], describe_external(job.runs, folders, job.images.task, counts, **machine))


def _predict_seeds(job: ExternalJob, fold: Fold) -> list[Predicted]:
    if not len(fold):
        nothing = predict_nothing(fold, len(TASKS[job.runs[0].task].classes))
        return [Predicted(fold, "test", run.seed, nothing) for run in job.runs]
    parts = []
    for run, model in zip(job.runs, load_networks(job.models), strict=True):
        parts.append(predict_fold(model, fold, "test", job.options, run.seed))
        log.info("seed %d: %d images", run.seed, len(fold))
    return parts
