"""The command `covbench score`: check answers from elsewhere, score them, and take them in as a contestant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from covbench.contestants.export import Exported
from covbench.contestants.job import read_predicted
from covbench.contestants.split_export import open_split, require_files
from covbench.data.datasets import TASKS, publishes_patients
from covbench.data.folds import ClassMaps, Predicted, tabulate_predictions
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.metrics.registry import METRICS
from covbench.evaluation.score import score_segmentation
from covbench.experiment.contestants import (
    CARD,
    CONTESTANTS,
    PREDICTIONS,
    STORED,
    ContestantCard,
    check_name,
    read_contestant,
)
from covbench.experiment.plan import native_grids_path, native_masks_path
from covbench.schema import CLASSIFICATION, LABELS_ONLY, CovbenchError, Run
from covbench.system.files import write_arrays, write_table, write_whole

HELP = """\
Check the answers of a contestant from elsewhere to a split of `covbench export-split`, score them, and keep them in
contestants/NAME. Everything that is wrong is listed at once, with rows and remedies, and then nothing is kept.

The answers to a classification are a .csv or .parquet table with the column id and a column of probabilities for each
class; with --labels the columns are id and label. The answers to a segmentation are a folder of ID.png or ID.nii.gz, or
an .npz file with an array per id: class numbers on the grid of the images. Rows of the
validation fold may be there too. With --external they hold the images of the other planned datasets that
`covbench export-split --external` has written.

Once it is kept, list NAME under `contestants:` in the config. Snakemake then takes it into every table and page.
"""
EXAMPLES = """\
examples:
  covbench score p.csv --name my_model --task covid_ct
  covbench score p.csv --name my_model --task covid_ct --seed 1 --citation 'Doe 2026' --training-data ImageNet
  covbench score reader1.csv --name reader_1 --task radiography --labels --title 'Radiologist, 12 years'
  covbench score masks/ --name other_net --task medseg_multiclass --dry-run
"""


@dataclass(frozen=True)
class Submission:
    """Answers from elsewhere.

    answers: a table, or a folder or .npz file of masks. run: its architecture is the contestant's name.
    words: title, citation, contact and training_data of contestant.yaml; an empty word leaves what is there.
    labels_only: whether the answers name a class instead of probabilities. external: whether the images of the other
    planned datasets are among them.
    """

    answers: Path
    run: Run
    words: Mapping[str, str]
    labels_only: bool = False
    external: bool = False


def score_submission(
    config: Mapping[str, Any], submission: Submission, root: Path, keep: bool = True, folder: Path = CONTESTANTS
) -> Iterator[str]:
    """Check, score and keep answers.

    Args:
        config: checked, as covbench.experiment.config.check_config returns it.
        submission: the answers.
        root: the folder that holds data/.
        keep: whether they are kept in the contestant's folder.
        folder: the one that holds all contestants.

    Yields:
        The scores, and what to do next.

    Raises:
        CovbenchError: the answers are wrong, the name is taken, or files of the workflow are missing.
    """
    run = submission.run
    card = _choose_card(submission, folder)
    if not submission.answers.exists():
        raise CovbenchError(f"{submission.answers} does not exist; name a table, or a folder or .npz file of masks")
    folds = open_split(config, run, root, submission.external)
    parts = read_predicted(submission.answers, run, folds, submission.labels_only)
    yield from _show_scores(_score(parts, run, submission.labels_only, root))
    if not keep:
        yield "The answers are right. Nothing was kept (--dry-run)."
        return
    path = _keep(parts, folds, submission, card, folder)
    yield f"kept: {path}"
    listed = {"contestants": {TASKS[run.task].kind: [run.architecture]}}
    yield "Now list it in the config, and start snakemake:"
    yield yaml.safe_dump(listed, default_flow_style=None).rstrip()


def _choose_card(submission: Submission, folder: Path) -> dict[str, Any]:
    """Choose the keys of contestant.yaml: those that are there, and those that were given."""
    run, words = submission.run, {name: word for name, word in submission.words.items() if word}
    check_name(run.architecture)
    if run.task not in TASKS:
        return {}  # open_split says so
    kind = TASKS[run.task].kind
    given: dict[str, Any] = {"kind": kind, "answers": "labels" if submission.labels_only else "probabilities"}
    given |= {"external": True} if submission.external else {}
    path = folder / run.architecture / CARD
    if not path.exists():
        return {"title": run.architecture} | given | words
    there: ContestantCard = read_contestant(run.architecture, folder)
    if there.command:
        raise CovbenchError(f"{path}: its command makes its predictions; choose another --name")
    for key in ("kind", "answers", "external"):
        if getattr(there, key) != given.get(key, False):
            raise CovbenchError(
                f"{path}: {key} is {getattr(there, key)}, not {given.get(key, False)}; choose another --name"
            )
    return dict(yaml.safe_load(path.read_text(encoding="utf-8"))) | words


def _score(parts: Sequence[Predicted], run: Run, labels_only: bool, root: Path) -> dict[str, Any]:
    """Score the answers to the test fold, as the workflow will."""
    task = TASKS[run.task]
    fold, name, seed, predicted, _ = next(part for part in parts if part.name == "test")
    if isinstance(predicted, ClassMaps):
        require_files([native_masks_path(run.task), native_grids_path(run.task)], root)
        return score_segmentation(fold, predicted.numbers, None, root / native_masks_path(run.task), task)[0]
    table = tabulate_predictions(fold, name, seed, predicted)
    if labels_only:
        table[LABELS_ONLY] = True
    return evaluate_classification(table, task, publishes_patients(task.name))[0]


def _show_scores(metrics: Mapping[str, Any]) -> Iterator[str]:
    groups = f"{metrics['images']:,} test images, {metrics['groups']:,} groups"
    yield f"{groups}; intervals and comparisons come with the workflow"
    for name, metric in METRICS[metrics["kind"]].items():
        if metric.in_report and name in metrics["metrics"]:
            value = metrics["metrics"][name]
            shown = f"{value:.4f}" if value is not None else f"undefined: {metrics['undefined'][name]}"
            yield f"  {metric.label:<28} {shown}"


def _keep(
    parts: Sequence[Predicted], folds: Sequence[Exported], submission: Submission, card: Mapping[str, Any], folder: Path
) -> Path:
    """Write the answers and contestant.yaml. Returns the path of the answers."""
    run, own = submission.run, folder / submission.run.architecture
    kind = TASKS[run.task].kind
    path = own / PREDICTIONS / run.task / run.protocol / f"{run.seed}{STORED[kind]}"
    ids = {exported.name: exported.ids for exported in folds}
    named = [name for part in parts for name in ids[part.name]]
    if kind == CLASSIFICATION:
        values = np.concatenate([np.asarray(probabilities) for _, _, _, probabilities, _ in parts])
        write_table(path, _tabulate(named, values, TASKS[run.task].classes, submission.labels_only))
    else:
        maps = np.concatenate([maps.numbers for _, _, _, maps, _ in parts if isinstance(maps, ClassMaps)])
        write_arrays(path, dict(zip(named, maps, strict=True)))
    text = yaml.safe_dump(dict(card), sort_keys=False, allow_unicode=True)
    with write_whole(own / CARD) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _tabulate(ids: Sequence[str], values: np.ndarray, classes: Sequence[str], labels_only: bool) -> pd.DataFrame:
    table = pd.DataFrame({"id": list(ids)})
    if labels_only:
        return table.assign(label=[classes[number] for number in values.argmax(axis=1)])
    return table.assign(**{name: values[:, number] for number, name in enumerate(classes)})
