"""Train one trial of a search, from files to files. It sees no image of the test fold, and predicts nothing."""

from __future__ import annotations

import logging
import time

import pandas as pd

from covbench.experiment.provenance import describe_run, fingerprint_inputs
from covbench.protocols import BEST
from covbench.schema import HISTORY_COLUMNS
from covbench.system.files import read_table, write_json, write_table
from covbench.training.devices import describe_device, set_precision
from covbench.training.epoch import DivergedError
from covbench.training.job import TrainingJob, fit_network
from covbench.training.session import run_session
from covbench.training.state import Checkpointer

log = logging.getLogger(__name__)


def train_trial(job: TrainingJob) -> None:
    """Train a trial and write its history and its manifest, with the validation loss of the epoch that is kept.

    A killed job resumes, and a finished one is not trained again, as training.job.train_run says. A trial whose loss
    became infinite or no number has no validation loss, and the search goes on without it.

    Raises SystemExit (75) if the process is told to stop.
    """
    inputs = job.gather_inputs()
    with run_session(job.run, fingerprint_inputs(inputs), job.outputs) as session:
        if session.finished:
            return
        before = _fit_trial(job, session.checkpointer)
        curves = read_table(job.outputs["history"], HISTORY_COLUMNS)
        facts = {
            "val_loss": None if before is None else _score(curves, job.options.keep),
            "seconds": round(time.monotonic() - session.started + (before or 0.0), 1),
            "epochs_run": len(curves),
            "device": describe_device(),
        }
        write_json(job.outputs["manifest"], describe_run(inputs, **facts))


def _fit_trial(job: TrainingJob, checkpointer: Checkpointer) -> float | None:
    """Fit a trial on its training fold. Returns the seconds of earlier processes; None if the training diverged."""
    folds = job.open_folds(("train", "val"))
    set_precision(job.settings.precision)
    write_table(job.outputs["history"], pd.DataFrame(columns=list(HISTORY_COLUMNS)))
    try:
        _, progress = fit_network(job, folds, checkpointer, show_curves=lambda curves: None)
    except DivergedError as error:
        log.warning("this trial is left out: %s", error)
        return None
    return progress.seconds_before


def _score(curves: pd.DataFrame, keep: str) -> float:
    """The validation loss of the epoch whose weights the training keeps."""
    losses = curves["val_loss"]
    return float(losses.min() if keep == BEST else losses.iloc[-1])
