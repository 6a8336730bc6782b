"""How far people who read the same test images agree: Cohen's kappa of the classes they name, Dice of their masks.

A reader is a contestant with `answers: labels`. Cohen (1960), doi:10.1177/001316446002000104, corrects the share of
images on which two readers agree by the share that chance alone would give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, groupby
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.datasets import TASKS
from covbench.evaluation.comparison.bootstrap import list_groups, mean_draws
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
        for row in _compare_fold(list(several)):
            yield {"protocol": protocol, "seed": seed} | row


def _fold(run: RunRecord) -> tuple[str, int]:
    return run.protocol, run.seed


@dataclass(frozen=True)
class Pair:
    """Two readers of the same images. counted: bool, (N,), the images that their measure rests on."""

    one: str
    other: str
    measure: str
    counted: np.ndarray
    statistic: Statistic


def _compare_fold(readers: Sequence[RunRecord]) -> Iterator[dict[str, Any]]:
    """Measure the agreement of every two readers of one test fold. All pairs share their draws."""
    cases = readers[0].cases
    groups = list_groups([cases])
    codes = groups.get_indexer(pd.Index(cases["group"]))
    kind = readers[0].metrics["kind"]
    pairs = list(_pair_labels(readers, codes) if kind == CLASSIFICATION else _pair_masks(readers, codes))
    blocks = draw_blocks(len(groups)) if pairs else ()
    drawn = zip(*([pair.statistic(weights) for pair in pairs] for weights in blocks), strict=True)
    once = np.ones((len(groups), 1), np.uint16)
    for pair, draws in zip(pairs, drawn, strict=True):
        row = {"one": pair.one, "other": pair.other, "measure": pair.measure, "images": int(pair.counted.sum())}
        behind = len(np.unique(codes[pair.counted]))
        yield row | {"groups": behind} | _bound(pair, pair.statistic(once), np.concatenate(draws), behind)


def _bound(pair: Pair, value: np.ndarray, draws: np.ndarray, groups: int) -> dict[str, Any]:
    if np.isnan(value[0]):
        reason = "both name one and the same class" if pair.measure == KAPPA else "neither marks a lesion"
        return {"value": None, "low": None, "high": None, "reason": f"undefined: {reason}"}
    found = estimate_score(value, draws[None], groups)
    return {"value": found.value, "low": found.low, "high": min(found.high, 1.0), "reason": found.reason}


def _pair_labels(readers: Sequence[RunRecord], codes: np.ndarray) -> Iterator[Pair]:
    classes, everything = len(readers[0].metrics["classes"]), np.ones(len(codes), bool)
    for one, other in combinations(readers, 2):
        answers = [run.cases["predicted"].to_numpy() for run in (one, other)]
        kappa = measure_kappa(answers[0], answers[1], codes, classes)
        yield Pair(one.architecture, other.architecture, KAPPA, everything, kappa)


def _pair_masks(readers: Sequence[RunRecord], codes: np.ndarray) -> Iterator[Pair]:
    lesions = {run.architecture: _read_lesions(run) for run in readers}
    for one, other in combinations(lesions, 2):
        both, sizes = lesions[one] & lesions[other], (lesions[name].sum(axis=(1, 2)) for name in (one, other))
        overlap = divide(2 * both.sum(axis=(1, 2)), sum(sizes))
        yield Pair(one, other, DICE, ~np.isnan(overlap), partial(mean_draws, overlap, codes))


def _read_lesions(run: RunRecord) -> np.ndarray:
    """Read where a reader marks a lesion: bool, (N, H, W), in the order of its cases."""
    task, masks = TASKS[run.task], run.read_masks()
    numbers = [task.classes.index(name) for name in task.lesions]
    rows = zip(run.cases["image_id"], run.cases["copy"], strict=True)
    return np.stack([np.isin(masks[key], numbers) for key in rows])


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
