"""Compare every pair of models on the same test images: tests, ranks and resolvable differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from covbench.evaluation.comparison.bootstrap import find_interval
from covbench.evaluation.comparison.paired_tests import (
    PairedFold,
    compare_aurocs,
    compare_correct,
    correct_holm,
    flip_signs,
)
from covbench.evaluation.comparison.ranks import range_ranks, resolvable_difference
from covbench.experiment.runs import RunRecord, count_groups
from covbench.schema import CLASSIFICATION, SEGMENTATION

COMPARED = {CLASSIFICATION: ("auroc", "accuracy"), SEGMENTATION: ("dice_lesion",)}
"""The metrics by which models are ranked and tested. Larger is better."""
CASES = {"accuracy": "correct", "dice_lesion": "dice_lesion"}
"""Metric -> column of cases.parquet. The metric is the mean of this column over images."""

DELONG = "DeLong, by patient"
MCNEMAR = "McNemar, exact"
PERMUTATION = "permutation of patients"


@dataclass(frozen=True)
class Contestant:
    """A model under one protocol.

    runs: its scored runs by seed. scores: by metric, the mean over seeds. draws: by metric, this mean in each bootstrap
    draw, (B,).
    """

    architecture: str
    family: str
    runs: Mapping[int, RunRecord]
    scores: Mapping[str, float | None]
    draws: Mapping[str, np.ndarray]


def compare_model_pairs(contestants: Sequence[Contestant], patients: pd.Index) -> dict[str, list[dict[str, Any]]]:
    """Make rows of `pairs`, `ranks` and `resolution` for one task and protocol, without the columns of these two.

    Each seed has its own test fold. Only models with the seeds of the most complete model are compared. The others are
    in no table.

    patients: (P,), all patients of the task.
    """
    seeds = max((set(contestant.runs) for contestant in contestants), key=len)
    contestants = [contestant for contestant in contestants if set(contestant.runs) == seeds]
    rows: dict[str, list[dict[str, Any]]] = {"pairs": [], "ranks": [], "resolution": []}
    for metric in COMPARED[next(iter(contestants[0].runs.values())).metrics["kind"]]:
        scored = [contestant for contestant in contestants if contestant.scores.get(metric) is not None]
        if scored:
            rows["pairs"] += _test_pairs(metric, scored, patients)
            rows["ranks"] += _rank(metric, scored)
            rows["resolution"].append(_resolve(metric, scored))
    return rows


def _rank(metric: str, contestants: Sequence[Contestant]) -> Iterator[dict[str, Any]]:
    scores = np.array([contestant.scores[metric] for contestant in contestants], np.float64)
    best, worst = range_ranks(np.stack([contestant.draws[metric] for contestant in contestants]), scores)
    for number in np.argsort(-scores, kind="stable"):
        contestant = contestants[number]
        names = {"metric": metric, "architecture": contestant.architecture, "family": contestant.family}
        ranks = {"best": int(best[number]), "worst": int(worst[number]), "models": len(contestants)}
        yield {**names, "score": scores[number], **ranks}


def _resolve(metric: str, contestants: Sequence[Contestant]) -> dict[str, Any]:
    """Compute the resolvable difference from the median standard error of the difference between two models.

    A single model is treated as if it were compared with an independent one.
    """
    draws = [contestant.draws[metric] for contestant in contestants]
    errors = [np.nanstd(one - other) for one, other in combinations(draws, 2)]
    error = float(np.median(errors)) if errors else float(np.nanstd(draws[0]) * 2**0.5)
    basis = "median over pairs of models" if errors else "one model; a contestant independent of it"
    counts = {
        "patients": count_groups(run for contestant in contestants for run in contestant.runs.values()),
        "models": len(contestants),
    }
    return {"metric": metric, **counts, "error": error, "resolvable": resolvable_difference(error), "basis": basis}


def _test_pairs(metric: str, contestants: Sequence[Contestant], patients: pd.Index) -> list[dict[str, Any]]:
    pairs = list(combinations(contestants, 2))
    if not pairs:
        return []
    test, values = (_test_ranking if metric == "auroc" else _test_means)(metric, pairs, patients)
    rows = []
    for (one, other), p, corrected in zip(pairs, values, correct_holm(values), strict=True):
        low, high, _ = find_interval(one.draws[metric] - other.draws[metric], count_groups(one.runs.values()))
        difference = float(one.scores[metric] or 0) - float(other.scores[metric] or 0)
        names = {"metric": metric, "one": one.architecture, "other": other.architecture, "seeds": len(one.runs)}
        rows.append({**names, "difference": difference, "low": low, "high": high, "test": test, "p": p})
        rows[-1]["p_holm"] = corrected
    return rows


def _test_ranking(_: str, pairs: Sequence[tuple[Contestant, Contestant]], patients: pd.Index) -> tuple[str, np.ndarray]:
    """Test the AUROC of the positive class, or the mean AUROC of all classes if the task has several."""
    return DELONG, np.array([compare_aurocs(list(_pair_folds(*pair, patients)))[2] for pair in pairs])


def _pair_folds(one: Contestant, other: Contestant, patients: pd.Index) -> Iterator[PairedFold]:
    for seed, run in one.runs.items():
        classes, positive = run.metrics["classes"], run.metrics["positive"]
        mine, theirs = _align(run.cases, other.runs[seed].cases)
        ranks = patients.get_indexer(pd.Index(mine["patient_id"]))
        for number in [classes.index(positive)] if positive else range(len(classes)):
            column = f"p_{number}"
            yield (mine["truth"] == number).to_numpy(), mine[column].to_numpy(), theirs[column].to_numpy(), ranks


def _align(mine: pd.DataFrame, theirs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the same test images of two runs in the same order."""
    keys = ["image_id", "copy"]
    return mine, mine[keys].merge(theirs, on=keys, how="left", validate="one_to_one")


def _test_means(
    metric: str, pairs: Sequence[tuple[Contestant, Contestant]], patients: pd.Index
) -> tuple[str, np.ndarray]:
    """Use McNemar's test if every patient has one image in one fold, otherwise the permutation test."""
    runs = list(pairs[0][0].runs.values())
    if metric == "accuracy" and len(runs) == 1 and runs[0].cases["patient_id"].is_unique:
        answers = [next(_pair_values(*pair, CASES[metric])) for pair in pairs]
        return MCNEMAR, np.array([compare_correct(one > 0, other > 0) for one, other, _ in answers])
    return PERMUTATION, flip_signs(np.column_stack([_sum_gains(*pair, CASES[metric], patients) for pair in pairs]))


def _pair_values(one: Contestant, other: Contestant, column: str) -> Iterator[tuple[np.ndarray, np.ndarray, pd.Series]]:
    """Yield for each seed both models' values of each test image that has both, and the image's patient."""
    for seed, run in one.runs.items():
        mine, theirs = _align(run.cases, other.runs[seed].cases)
        sides = [cases[column].to_numpy(np.float64) for cases in (mine, theirs)]
        known = np.flatnonzero(~np.isnan(sides).any(axis=0))
        yield sides[0][known], sides[1][known], mine["patient_id"].iloc[known]


def _sum_gains(one: Contestant, other: Contestant, column: str, patients: pd.Index) -> np.ndarray:
    """Compute each patient's share in the mean difference over images and seeds: float64, (P,)."""
    gains = np.zeros(len(patients))
    for mine, theirs, names in _pair_values(one, other, column):
        ranks = patients.get_indexer(pd.Index(names))
        gains += np.bincount(ranks, (mine - theirs) / max(len(mine), 1), len(patients)) / len(one.runs)
    return gains
