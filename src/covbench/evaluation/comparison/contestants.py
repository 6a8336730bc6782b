"""A model under one protocol: its runs, their scores, and the same in each bootstrap draw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd

from covbench.evaluation.comparison.bootstrap import Draws
from covbench.evaluation.comparison.evidence import count_evidence, is_rate, is_share
from covbench.evaluation.comparison.intervals import (
    Estimate,
    estimate_difference,
    estimate_score,
    is_perfect,
    separate_exactly,
)
from covbench.evaluation.definitions import METRICS
from covbench.experiment.runs import MODEL_KEYS, RunRecord, RunState

WHOLE = ""
"""The class of scores of the whole task."""


@dataclass(frozen=True)
class Contestant:
    """A model under one protocol.

    runs: its scored runs by seed, in ascending order. scores: by metric, the score of each, float64, (S,), NaN where
    undefined. draws: by metric, the same in each bootstrap draw, float32, (S, B). groups: by metric, the groups of
    images that it rests on.
    """

    architecture: str
    family: str
    runs: Mapping[int, RunRecord]
    scores: Mapping[str, np.ndarray]
    draws: Mapping[str, np.ndarray]
    groups: Mapping[str, int]

    @property
    def kind(self) -> str:
        """Classification or segmentation."""
        return str(next(iter(self.runs.values())).metrics["kind"])

    @property
    def unit(self) -> str:
        """What a group is called: patients, or groups of images where the dataset publishes no patients."""
        return name_unit(self.runs.values())

    def list_defined(self, metric: str) -> list[int]:
        """List the seeds for which a metric is defined."""
        known = self.scores.get(metric, np.full(len(self.runs), np.nan))
        return [seed for seed, value in zip(self.runs, known, strict=True) if not np.isnan(value)]

    def average(self, metric: str) -> float | None:
        """Average a metric over the seeds for which it is defined; None if there are none."""
        return float(np.nanmean(self.scores[metric])) if self.list_defined(metric) else None

    def is_perfect(self, metric: str) -> bool:
        """Say whether a metric has no error in any bootstrap draw."""
        lower = METRICS[self.kind][metric].lower_is_better
        return is_perfect(*self.choose(metric, self.list_defined(metric)), lower)

    def choose(self, metric: str, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return values and draws of some seeds: (S,) and (S, B)."""
        rows = [list(self.runs).index(seed) for seed in seeds]
        return self.scores[metric][rows], self.draws[metric][rows]


def enter_contestant(runs: Sequence[RunRecord], draws: Sequence[Draws]) -> Contestant:
    """Make the contestant of some runs of one model. draws: of each run, as score_draws returns them."""
    values = {
        metric: np.array([run.metrics["metrics"].get(metric) for run in runs], np.float64)
        for metric in runs[0].metrics["metrics"]
    }
    drawn = {
        metric: np.stack([found[WHOLE, metric] for found in draws]).astype(np.float32)
        for metric in values
        if all((WHOLE, metric) in found for found in draws)
    }
    evidence = count_evidence(runs[0].metrics, pd.concat([run.cases for run in runs], ignore_index=True))
    groups = {metric: evidence[WHOLE, metric] for metric in values}
    return Contestant(runs[0].architecture, runs[0].family, {run.seed: run for run in runs}, values, drawn, groups)


def name_unit(runs: Iterable[RunRecord]) -> str:
    """Name what intervals are drawn from: patients, or groups of images where a dataset publishes no patients."""
    return "patients" if all(run.metrics.get("patients") is not None for run in runs) else "groups of images"


def estimate_contestant(contestant: Contestant, metric: str) -> Estimate:
    """Estimate the mean over seeds of a metric that has draws and is defined for a seed."""
    seeds = contestant.list_defined(metric)
    rate, share = is_rate(contestant.kind, metric), is_share(contestant.kind, metric)
    return estimate_score(*contestant.choose(metric, seeds), contestant.groups[metric], rate, share)


def estimate_gap(one: Contestant, other: Contestant, metric: str) -> Estimate:
    """Estimate a difference. Seeds are paired if both sides have the same. Otherwise only patients are covered.

    Args:
        one: a model under a protocol.
        other: another model, or the same one under another protocol.
        metric: a metric with draws that is defined for a seed of each.

    Returns:
        The estimate of the first minus the second.
    """
    mine, theirs = one.list_defined(metric), other.list_defined(metric)
    groups = min(one.groups[metric], other.groups[metric])
    (values, draws), (others, other_draws) = one.choose(metric, mine), other.choose(metric, theirs)
    if mine != theirs:
        values, others = values.mean(keepdims=True), others.mean(keepdims=True)
        draws, other_draws = draws.mean(axis=0, keepdims=True), other_draws.mean(axis=0, keepdims=True)
    found = estimate_difference(values - others, draws - other_draws, groups)
    if is_rate(one.kind, metric) and found.error is None and abs(found.value) == 1:
        return separate_exactly(found)
    return found


def group_models(records: Iterable[RunRecord]) -> Iterator[tuple[dict[str, str], list[RunRecord]]]:
    """Yield MODEL_KEYS of each model by name, with the runs of its seeds, in the order of these keys."""

    def name(record: RunRecord) -> tuple[str, ...]:
        return tuple(getattr(record, key) for key in MODEL_KEYS)

    for key, group in groupby(sorted(records, key=name), key=name):
        yield dict(zip(MODEL_KEYS, key, strict=True)), list(group)


def explain_unscored(seeds: Iterable[RunRecord]) -> str:
    """Name the first seed of a model that is not scored, and its state; empty if all are."""
    return next((f"seed {run.seed} is {run.state}" for run in seeds if run.state is not RunState.SCORED), "")
