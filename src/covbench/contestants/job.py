"""Run one contestant from elsewhere, from files to files: show it a split, run it or read what it stored, check it."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.contestants.answers import Asked, find_answers, read_answers
from covbench.contestants.command import choose_environment, link_temporary, run_command
from covbench.contestants.container import Bound, run_contained
from covbench.contestants.export import Exported, Source, export_folds, open_exported, open_external
from covbench.contestants.external import write_external
from covbench.data.datasets import TASKS
from covbench.data.folds import ClassMaps, Predicted, write_predicted
from covbench.experiment.contestants import ContestantCard, copy_contestant, fill_command, stored_path
from covbench.experiment.plan import describe_words
from covbench.experiment.provenance import describe_run, gather_inputs, name_inputs
from covbench.experiment.run_locks import lock_run, note_failure, note_progress, run_checkpoints
from covbench.schema import CLASSIFICATION, FOLDS, CovbenchError, Run
from covbench.system.energy import UNSAID, EnergyMeter, EnergySettings, Use, describe_energy
from covbench.system.files import write_json
from covbench.system.gpu_leases import list_gpus

log = logging.getLogger(__name__)

WORK = ".work"
"""Folder of a running contestant, beside its lock. What a killed one has left there is removed."""


@dataclass(frozen=True)
class ContestantJob:
    """A contestant and what it is run on.

    split, index: paths of the split and of the index of its dataset. prepared: of the arrays. raw: of the published
    files. external: paths of other datasets, as experiment.plan.list_external_files; empty if it is not asked for them.
    programs: folder of the Python that its command runs with. arguments: words for the command.
    """

    run: Run
    card: ContestantCard
    split: str
    index: str
    prepared: Sequence[str]
    raw: str
    external: Mapping[str, str] = field(default_factory=dict)
    programs: Path = Path(sys.executable).parent
    arguments: str = ""


def run_contestant(job: ContestantJob, outputs: Mapping[str, str], energy: EnergySettings = UNSAID) -> None:
    """Write the predictions, masks and manifest of a contestant.

    Args:
        job: the contestant.
        outputs: paths by `manifest`, `predictions` and, where pixels are labelled, `masks`. If it is asked for other
            datasets, also by `external` and `external_masks`.
        energy: what the config says about energy.

    Raises:
        CovbenchError: its command fails, or its answers are wrong. All mistakes are listed.
    """
    started, meter = time.monotonic(), EnergyMeter(list_gpus())
    folder = run_checkpoints(job.run)
    with lock_run(folder, wait="SLURM_JOB_ID" in os.environ), note_failure(job.run):
        files = name_inputs(job.split, job.prepared) | dict(job.external)
        inputs = gather_inputs(job.run, describe_words(job.arguments), files, {})
        folds, labels_only = open_exported(job.run.task, job.split, job.prepared), job.card.answers == "labels"
        folds += open_external(job.run.task, job.external)
        if job.card.command:
            work = folder.resolve() / WORK
            shutil.rmtree(work, ignore_errors=True)
            try:
                parts = read_predicted(_answer(job, folds, work), job.run, folds, labels_only)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        else:
            parts = read_predicted(_find_stored(job), job.run, folds, labels_only)
        own = [part for part in parts if part.name in FOLDS]
        write_predicted(own, outputs, labels_only)
        if "external" in outputs:
            others = [part for part in parts if part.name not in FOLDS]
            write_external(others, own[-1], outputs, labels_only)
        facts = _state_facts(job.card, time.monotonic() - started)
        use = meter.read() if _runs_below(job.card) else Use(complete=False)
        write_json(outputs["manifest"], describe_run(inputs, **facts, **describe_energy(use, energy)))


def _state_facts(card: ContestantCard, seconds: float) -> dict[str, Any]:
    facts: dict[str, Any] = {"device": _name_device(card), "threads": card.threads, "weights": ""}
    facts |= {"seconds": round(seconds, 1), "parameters": None, "epochs_run": 0, "best_epoch": 0}
    return facts | {name: getattr(card, name) for name in ("title", "citation", "contact", "training_data", "answers")}


def _runs_below(card: ContestantCard) -> bool:
    """Whether a contestant works in children of this process, which a container may not be."""
    return bool(card.command) and "container" not in card.environment


def _name_device(card: ContestantCard) -> str:
    return "gpu" if card.gpu and os.environ.get("CUDA_VISIBLE_DEVICES", "") != "" else "cpu"


def _find_stored(job: ContestantJob) -> Path:
    path = stored_path(job.card, job.run)
    if path is None:
        raise CovbenchError(f"{job.card.folder}: holds no predictions for {job.run.folder}; covbench score stores them")
    return path


def _answer(job: ContestantJob, folds: Sequence[Exported], work: Path) -> Path:
    """Let a contestant answer in a folder of its own. Returns the folder that it has written."""
    task = TASKS[job.run.task]
    given, written, code = work / "input", work / "output", work / "code"
    shown = Source(pd.read_parquet(job.index), Path(job.raw))
    export_folds(given, job.run, task, folds, shown, job.card.images)
    written.mkdir()
    copy_contestant(job.card.folder, code)
    seed, device = job.run.seed, "cuda" if _name_device(job.card) == "gpu" else "cpu"
    values = {"input": given, "output": written, "seed": seed, "device": device, "threads": job.card.threads}
    words = fill_command(job.card.command, job.arguments, **values)
    home, note = work / "home", partial(note_progress, job.run)
    with link_temporary(home) as temporary:
        variables = choose_environment(home, temporary, job.programs, job.card.threads)
        if image := job.card.environment.get("container"):
            bound = Bound(given, (written, code, home), code)
            run_contained(words, image, bound, variables, device == "cuda", note)
        else:
            run_command(words, code, variables, note)
    return written


def read_predicted(answers: Path, run: Run, folds: Sequence[Exported], labels_only: bool) -> list[Predicted]:
    """Read the answers to the test fold and to other datasets, and those to the validation fold if there are any.

    Args:
        answers: a table, an archive or folder of masks, or the folder that holds one of them.
        run: whose task was asked.
        folds: as list_folds returns them, and images of other datasets.
        labels_only: whether the answers name a class instead of probabilities.

    Returns:
        The predictions, those of the validation fold first, then those of the test fold.

    Raises:
        CovbenchError: lists everything that is wrong.
    """
    task, by_name = TASKS[run.task], {exported.name: exported for exported in folds}
    train, val, test = (by_name[name] for name in FOLDS)
    others = [exported for exported in folds if exported.name not in FOLDS]
    required = [*test.ids, *(name for exported in others for name in exported.ids)]
    height, width = test.fold.images.shape[1:]
    asked = Asked(required, val.ids, train.ids, task, (height, width), labels_only)
    found = read_answers(find_answers(answers, task), asked)
    places = {name: place for place, name in enumerate(found.ids)}
    parts = []
    for exported in (val, test, *others):
        if exported.ids and exported.ids[0] in places:
            values = found.predicted[[places[name] for name in exported.ids]]
            predicted = values.astype(np.float32) if task.kind == CLASSIFICATION else ClassMaps(values)
            parts.append(Predicted(exported.fold, exported.name, run.seed, predicted))
    return parts
