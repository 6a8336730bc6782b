"""Run one job, from files to files: a baseline predicts the images of another dataset that are new to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from covbench.audit.unseen import ExternalSet, open_unseen
from covbench.data.datasets import TASKS
from covbench.data.folds import ClassMaps, Predicted, open_folds, predict_nothing, write_predicted
from covbench.experiment.run_files import describe_external
from covbench.schema import CovbenchError, Run
from covbench.system.files import write_json
from covbench.system.processors import describe_processor
from covbench.system.stage_files import name_remedy
from covbench.system.threads import BASELINE_THREADS
from covbench.training.baseline_job import fit_run, predict_with


@dataclass(frozen=True)
class ExternalBaseline:
    """The seeds of a baseline, and the images of another dataset.

    runs: the seeds. splits: path of the split of each. prepared: of the arrays that they are fitted on.
    predictions: path of predictions.parquet of each. images: of the other dataset.
    """

    runs: Sequence[Run]
    splits: Sequence[str]
    prepared: Sequence[str]
    predictions: Sequence[str]
    images: ExternalSet


def predict_external_baseline(job: ExternalBaseline, outputs: Mapping[str, str]) -> None:
    """Fit a baseline again and predict the unseen images of another dataset.

    A fit takes seconds and gives the same numbers each time, so none is stored. It has to give the predictions that the
    run has stored of its own test fold.

    Args:
        job: the baseline and the images.
        outputs: paths as of training.predict_external.predict_external.

    Raises:
        CovbenchError: the fit gives other predictions than the stored ones.
    """
    count = len(TASKS[job.runs[0].task].classes)
    external, counts = open_unseen(job.runs[0].task, job.images)
    parts = []
    for run, split, stored in zip(job.runs, job.splits, job.predictions, strict=True):
        train, test = open_folds(split, job.prepared, ("train", "test"), count)
        fitted = fit_run(run, train)
        _require_same(predict_with(fitted, test), stored)
        values = predict_with(fitted, external) if len(external) else predict_nothing(external, count)
        parts.append(Predicted(external, "test", run.seed, values))
    write_predicted(parts, outputs)
    folders = [Path(path).parent for path in job.predictions]
    machine = {"device": "cpu", **describe_processor(), "threads": BASELINE_THREADS}
    write_json(outputs["manifest"], describe_external(job.runs, folders, job.images.task, counts, **machine))


def _require_same(values: np.ndarray | ClassMaps, stored: str) -> None:
    """Raise CovbenchError if predictions of the test fold differ from the stored ones."""
    table = pd.read_parquet(stored)
    test = (table["fold"] == "test").to_numpy()
    if isinstance(values, ClassMaps):
        with np.load(Path(stored).with_name("predicted_masks.npz")) as masks:
            same = np.array_equal(values.numbers, masks["masks"][test])
    else:
        names = [f"p_{number}" for number in range(values.shape[1])]
        same = np.allclose(values, table.loc[test, names], rtol=0, atol=1e-6)
    if not same:
        raise CovbenchError(f"{stored}: fitted again, the baseline predicts something else; {name_remedy(stored)}")
