"""How far people who read the same test images agree: Cohen's kappa of the classes they name, Dice of their masks.

A reader is a contestant with `answers: labels`. Cohen (1960), doi:10.1177/001316446002000104, corrects the share of
images on which two readers agree by the share that chance alone would give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, groupby
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.datasets import TASKS
from covbench.evaluation.comparison.bootstrap import list_groups
from covbench.evaluation.comparison.draws import draw_blocks
from covbench.evaluation.comparison.intervals import estimate_score
from covbench.evaluation.ratios import divide
from covbench.experiment.runs import RunRecord
from covbench.schema import CLASSIFICATION

KAPPA, DICE = "kappa", "dice"
Statistic = Callable[[np.ndarray], np.ndarray]
"""Computes a measure of agreement in each draw, float64, (B,), from weights as draws.draw_groups returns them."""


def compare_readers(runs: Sequence[RunRecord]) -> Iterator[dict[str, Any]]:
    """Measure the agreement of every two readers of the same test fold.

    Args:
        runs: the scored runs of one task.

    Yields:
        Rows of the table `agreement`, without the task.
    """
    readers = sorted((run for run in runs if run.manifest.get("answers") == "labels"), key=_fold)
    for (protocol, seed), several in groupby(readers, key=_fold):
        for one, other in combinations(several, 2):
            keys = {"protocol": protocol, "seed": seed, "one": one.architecture, "other": other.architecture}
            yield keys | _measure(one, other)


def _fold(run: RunRecord) -> tuple[str, int]:
    return run.protocol, run.seed


def _measure(one: RunRecord, other: RunRecord) -> dict[str, Any]:
    groups = list_groups([one.cases])
    codes = groups.get_indexer(pd.Index(one.cases["group"]))
    if one.metrics["kind"] == CLASSIFICATION:
        answers = [run.cases["predicted"].to_numpy() for run in (one, other)]
        counted, name = np.ones(len(codes), bool), KAPPA
        statistic = measure_kappa(answers[0], answers[1], codes, len(one.metrics["classes"]))
    else:
        overlap = _overlap_lesions(one, other)
        counted, name = ~np.isnan(overlap), DICE
        statistic = _average_defined(overlap, codes)
    value = statistic(np.ones((len(groups), 1), np.uint16))
    draws = np.concatenate([statistic(weights) for weights in draw_blocks(len(groups))])
    behind = len(np.unique(codes[counted]))
    row: dict[str, Any] = {"measure": name, "images": int(counted.sum()), "groups": behind}
    if np.isnan(value[0]):
        reason = "both name one and the same class" if name == KAPPA else "neither marks a lesion"
        return row | {"value": None, "low": None, "high": None, "reason": f"undefined: {reason}"}
    found = estimate_score(value, draws[None], behind)
    return row | {"value": found.value, "low": found.low, "high": min(found.high, 1.0), "reason": found.reason}


def measure_kappa(one: np.ndarray, other: np.ndarray, codes: np.ndarray, classes: int) -> Statistic:
    """Prepare Cohen's kappa of two readers.

    Args:
        one: class numbers of the first reader, int64, (N,).
        other: those of the second.
        codes: int64, (N,), the group of each image, from 0 on.
        classes: number of classes C.

    Returns:
        What computes kappa in each draw, NaN where both readers name one and the same class alone.
    """
    counts = np.zeros((classes, classes, codes.max() + 1))
    np.add.at(counts, (one, other, codes), 1)

    def kappa(weights: np.ndarray) -> np.ndarray:
        shares = counts @ weights.astype(np.float64)
        shares /= shares.sum(axis=(0, 1))
        agreed = np.einsum("iib->b", shares)
        by_chance = (shares.sum(axis=0) * shares.sum(axis=1)).sum(axis=0)
        return divide(agreed - by_chance, 1 - by_chance)

    return kappa


def _overlap_lesions(one: RunRecord, other: RunRecord) -> np.ndarray:
    """Compute the Dice of two readers' lesions in each test image, float64, (N,); NaN where neither marks one."""
    task, masks = TASKS[one.task], [run.read_masks() for run in (one, other)]
    lesions = [task.classes.index(name) for name in task.lesions]
    dice = []
    for key in zip(one.cases["image_id"], one.cases["copy"], strict=True):
        mine, theirs = (np.isin(found[key], lesions) for found in masks)
        dice.append(divide(2 * (mine & theirs).sum(), mine.sum() + theirs.sum()))
    return np.array(dice, np.float64)


def _average_defined(values: np.ndarray, codes: np.ndarray) -> Statistic:
    """Prepare the mean over images where a value is defined."""
    defined = ~np.isnan(values)
    sums, counts = (
        np.bincount(codes[defined], chosen, codes.max() + 1) for chosen in (values[defined], np.ones(defined.sum()))
    )
    return lambda weights: divide(sums @ weights.astype(np.float64), counts @ weights.astype(np.float64))
