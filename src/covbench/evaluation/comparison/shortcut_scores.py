"""Score what predicts a label without the picture, with intervals over groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from covbench.audit.shortcuts import Guesses
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.bootstrap import list_groups, score_runs
from covbench.evaluation.comparison.evidence import count_evidence
from covbench.evaluation.comparison.intervals import Estimate, estimate_score
from covbench.schema import CLASSIFICATION, Task

SCORES = ("balanced_accuracy", "chance", "auroc", "auroc_low", "auroc_high", "chance_auroc")


def tabulate_guesses(guesses: Guesses, task: Task) -> dict[str, Any]:
    """Make a row of the table `sources`, without the column `task`.

    Args:
        guesses: what a predictor said of each image.
        task: the task whose label it predicted.

    Returns:
        The row. Balanced accuracy has chance level 1 / classes, AUROC 0.5; for more than two classes it is the mean of
        each class against the rest. The scores are None where nothing was predicted.
    """
    counts = {name: getattr(guesses, name) for name in ("predictor", "images", "groups", "distinct", "note")}
    if guesses.predictions is None:
        return counts | dict.fromkeys(SCORES)
    return counts | score_guesses(guesses.predictions, task)


def tabulate_probe(guesses: Guesses, datasets: Sequence[str]) -> dict[str, Any]:
    """Make a row of the table `datasets`, without `modality`.

    guesses: as audit.dataset_probe.probe_datasets. datasets: their names. Without predictions there are no scores.
    """
    row: dict[str, Any] = {"datasets": " ".join(datasets), "images": guesses.images, "groups": guesses.groups}
    row |= {"chance": 1 / len(datasets), "note": guesses.note}
    if guesses.predictions is None:
        return row
    task = Task("datasets", CLASSIFICATION, tuple(datasets))
    found = estimate_score(*_draw_score(guesses.predictions, task, "balanced_accuracy"))
    return row | {"balanced_accuracy": found.value, "low": found.low, "high": found.high}


def score_guesses(predictions: pd.DataFrame, task: Task) -> dict[str, Any]:
    """Score a cross-validation. predictions: as audit.shortcuts.cross_validate. Returns SCORES by name."""
    metrics, _ = evaluate_classification(predictions, task)
    auroc = metrics["metrics"]["auroc"]
    found = {"balanced_accuracy": metrics["metrics"]["balanced_accuracy"], "chance": 1 / len(task.classes)}
    found |= {"auroc": auroc, "auroc_low": None, "auroc_high": None, "chance_auroc": 0.5}
    if auroc is None:
        return found
    estimate = estimate_auroc(*_draw_score(predictions, task, "auroc"))
    return found | {"auroc_low": estimate.low, "auroc_high": estimate.high}


def _draw_score(predictions: pd.DataFrame, task: Task, metric: str) -> tuple[np.ndarray, np.ndarray, int]:
    """A defined score, (1,), the same in each draw, (1, B), and the number of groups that it rests on."""
    metrics, cases = evaluate_classification(predictions, task)
    (draws,) = score_runs([(metrics, cases)], list_groups([cases]))
    groups = count_evidence(metrics, cases)["", metric]
    return np.array([metrics["metrics"][metric]]), draws["", metric][None], groups


def estimate_auroc(values: np.ndarray, draws: np.ndarray, groups: int) -> Estimate:
    """Estimate an AUROC, with an interval even where no draw has an error.

    An AUROC is the chance that an image of the class is ranked above another one. Where it is 1, so are all of M pairs
    that share no group, with M the groups of the smaller side. The exact interval of such a rate is taken (Clopper and
    Pearson 1934).

    Args:
        values: float64, (S,), the AUROC of each training.
        draws: float, (S, B), the same in each bootstrap draw of groups.
        groups: number of groups that it rests on, as evidence.count_evidence counts them.

    Returns:
        The estimate of the mean.
    """
    found = estimate_score(values, draws, groups)
    if found.covers or found.value < 1:
        return found
    return estimate_score(values, draws, groups // 2, rate=True)
