"""Bootstrap over groups of images: compute the scores of a run in every bootstrap draw at once.

A group is what no split divides: a patient with all near-duplicates. Its images are not independent. A draw takes as
many groups as there are, with replacement. An image counts as often as its group was drawn. Draws are stored as
weights, (P, B), so every score is a product of matrices, and runs that share weights share their draws. Blocks of draws
are made one after the other, so the memory grows with neither draws nor groups x draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.sparse import csr_array

from covbench.evaluation.classification import rate_classes
from covbench.evaluation.comparison.draws import DRAWS, SEED, draw_blocks, fit_counts
from covbench.evaluation.comparison.intervals import DEFINED, SIGNIFICANT
from covbench.evaluation.comparison.ranked_draws import RankedImages, rank_images, rank_scores, score_ranks
from covbench.evaluation.external import Scores
from covbench.evaluation.metrics.classification import ClassifiedFold
from covbench.evaluation.metrics.registry import draw_metrics
from covbench.evaluation.metrics.segmentation import LESION, NATIVE, SCORES, SegmentedFold
from covbench.evaluation.ratios import divide
from covbench.evaluation.segmentation import pool_volumes, score_annotated, score_overlap
from covbench.schema import CLASSIFICATION, LABELS_ONLY, SEGMENTATION

GRID = 101
UNDRAWN = "no interval: bootstrap draws do not score this metric"

Draws = dict[tuple[str, str], np.ndarray]
"""A score in each draw, (B,), by (class, metric). The class is "" for scores of the whole task."""
Scorer = Callable[[np.ndarray], Draws]
"""Computes every score of a run in each draw, from weights as draw_groups returns them."""


def score_runs(runs: Iterable[Scores], groups: pd.Index, first_seed: int = SEED) -> list[Draws]:
    """Compute every score of several runs in the same DRAWS draws, one block of draws after the other.

    A run is scored from the counts of its own groups alone, so its cost grows with its own images.

    Args:
        runs: the runs of one task.
        groups: (P,), the groups that are drawn from. They include all groups of the runs.
        first_seed: seed of the draws, as of draw_blocks.

    Returns:
        float32, (DRAWS,), of each run, as score_draws in all else.
    """
    runs = list(runs)
    owned = [list_groups([cases]) for _, cases in runs]
    scorers = [prepare_scorer(*run, own) for run, own in zip(runs, owned, strict=True)]
    rows = [groups.get_indexer(own) for own in owned]
    drawn: list[Draws] = [{} for _ in scorers]
    start = 0
    for weights in draw_blocks(len(groups), first_seed):
        block = slice(start, start := start + weights.shape[1])
        for score, own_rows, found in zip(scorers, rows, drawn, strict=True):
            for key, values in score(weights[own_rows]).items():
                found.setdefault(key, np.empty(DRAWS, np.float32))[block] = values
    return drawn


def score_draws(metrics: Mapping[str, Any], cases: pd.DataFrame, groups: pd.Index, weights: np.ndarray) -> Draws:
    """Compute every score of a run in each draw.

    With weights of 1 these are the scores of metrics.json.

    Args:
        metrics: the content of metrics.json, read for its kind and classes.
        cases: the content of cases.parquet.
        groups: (P,), the groups that are drawn from. They include all groups of the cases.
        weights: whole numbers, (P, B), how often each group is drawn.

    Returns:
        float64, (B,), by (class, metric). A score is NaN in a draw that leaves it undefined. Metrics that cannot be
        drawn are left out.
    """
    return prepare_scorer(metrics, cases, groups)(weights)


def prepare_scorer(metrics: Mapping[str, Any], cases: pd.DataFrame, groups: pd.Index) -> Scorer:
    """Sort and count the images of a run once, for any number of calls of score_draws.

    Args:
        metrics: the content of metrics.json, read for its kind and classes.
        cases: the content of cases.parquet.
        groups: (P,), the groups that are drawn from. They include all groups of the cases.

    Returns:
        What score_draws needs of the run.
    """
    codes = groups.get_indexer(pd.Index(cases["group"]))
    if metrics["kind"] == CLASSIFICATION:
        return partial(_score_classification, _count_classified(metrics, cases, codes, len(groups)))
    return partial(_score_segmentation, metrics, cases, codes)


def list_groups(tables: Iterable[pd.DataFrame]) -> pd.Index:
    """List the groups of several tables of cases, each once and sorted."""
    return pd.Index(sorted({group for cases in tables for group in cases["group"].unique()}))


@dataclass(frozen=True)
class ClassifiedImages:
    """The images of a test fold, counted by their groups.

    codes: int64, (N,), the group of each image. sizes: int64, (P,), the images of each group. confusion: uint16,
    (C * C, P), the images of each pair of a true and a predicted class, by group. rounded: the same for the answers by
    rounded logits; None without logits. ranked: the images, ranked by their probability of each class; empty without
    probabilities.
    """

    cases: pd.DataFrame
    classes: Sequence[str]
    positive: int | None
    codes: np.ndarray
    sizes: np.ndarray
    confusion: csr_array
    rounded: csr_array | None
    ranked: Sequence[RankedImages]


def _count_classified(
    metrics: Mapping[str, Any], cases: pd.DataFrame, codes: np.ndarray, groups: int
) -> ClassifiedImages:
    classes, positive = metrics["classes"], metrics["positive"]
    truth, count = cases["truth"].to_numpy(), len(classes)

    def count_confusion(answers: str) -> csr_array:
        cells = truth * count + cases[answers].to_numpy()
        return csr_array((np.ones(len(cells), np.uint16), (cells, codes)), (count**2, groups))

    return ClassifiedImages(
        cases,
        classes,
        classes.index(positive) if positive else None,
        codes,
        np.bincount(codes, minlength=groups),
        count_confusion("predicted"),
        count_confusion("rounded") if "rounded" in cases else None,
        []
        if LABELS_ONLY in cases
        else [rank_images(truth == c, cases[f"p_{c}"].to_numpy(), codes, groups) for c in range(count)],
    )


def _score_classification(images: ClassifiedImages, weights: np.ndarray) -> Draws:
    weights, classes = fit_counts(weights, images.sizes), images.classes

    def draw_confusion(counts: csr_array) -> np.ndarray:
        cells: np.ndarray = counts.astype(weights.dtype, copy=False) @ weights
        return cells.T.astype(np.float64).reshape(-1, len(classes), len(classes))

    drawn = draw_confusion(images.confusion)
    rates = rate_classes(drawn)
    rounded = rate_classes(draw_confusion(images.rounded)) if images.rounded is not None else None
    ranks = [score_ranks(ranked, weights) for ranked in images.ranked]
    undefined = np.full(rates["recall"].shape, np.nan)
    rates |= {"auroc": undefined, "average_precision": undefined}
    if ranks:
        rates["auroc"], rates["average_precision"] = (np.stack(values, axis=-1) for values in zip(*ranks, strict=True))
    mean = partial(mean_draws, codes=images.codes, weights=weights)
    fold = ClassifiedFold(images.cases, tuple(classes), images.positive, drawn, rates, mean, rounded)
    totals = draw_metrics(CLASSIFICATION, fold, positive=images.positive is not None)
    shown = [rate for rate in rates if rate != "support"]
    per_class = {(name, rate): rates[rate][:, c] for c, name in enumerate(classes) for rate in shown}
    return {("", name): value for name, value in totals.items()} | per_class


def band_curves(is_class: np.ndarray, scores: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> pd.DataFrame:
    """Compute pointwise 95 % bands of the ROC and the precision-recall curve, at GRID points between 0 and 1.

    Args:
        is_class: bool, (N,), whether each image is of the class.
        scores: float, (N,), the model's probability of the class.
        codes: int64, (N,), the group of each image as a row of `weights`.
        weights: uint16, (P, B), how often each group is drawn.

    Returns:
        A table with the columns curve, x, low and high. For curve `roc`, x is the false positive rate, and low and high
        bound the true positive rate. For `pr`, x is recall, and they bound precision. There is no row where there is no
        interval.
    """
    grid, level = np.linspace(0, 1, GRID), rank_scores(scores)
    drawn = [trace_draw(is_class, level, draw[codes], grid) for draw in weights.T]
    tables = []
    for number, curve in enumerate(("roc", "pr")):
        limits = [find_interval(values, len(weights))[:2] for values in np.array([pair[number] for pair in drawn]).T]
        tables.append(pd.DataFrame(limits, columns=["low", "high"], dtype=float).assign(curve=curve, x=grid))
    return pd.concat(tables, ignore_index=True)[["curve", "x", "low", "high"]].dropna()


def trace_draw(
    is_class: np.ndarray, level: np.ndarray, weights: np.ndarray, grid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Trace the ROC and the precision-recall curve of one draw.

    Args:
        is_class: bool, (N,), whether each image is of the class.
        level: int64, (N,), the ranks that rank_scores returns.
        weights: float64, (N,), how often each image counts.
        grid: float64, (G,), ascending, 0-1.

    Returns:
        The true positive rate at each false positive rate of the grid, and the precision at each recall: float64, (G,)
        each, NaN where undefined.
    """
    above = np.cumsum(np.bincount(level, weights * is_class))
    below = np.cumsum(np.bincount(level, weights * ~is_class))
    if not above[-1] or not below[-1]:
        return np.full(len(grid), np.nan), np.full(len(grid), np.nan)
    found, wrong = above / above[-1], below / below[-1]
    reached = np.minimum(np.searchsorted(found, grid), len(found) - 1)
    called = np.maximum(above + below, 1e-9)
    return np.interp(grid, [0.0, *wrong], [0.0, *found]), above[reached] / called[reached]


def _score_segmentation(
    metrics: Mapping[str, Any], cases: pd.DataFrame, codes: np.ndarray, weights: np.ndarray
) -> Draws:
    weights = weights.astype(np.float64)
    regions = {name: _score_region(cases, name, codes, weights) for name in {*metrics["classes"], LESION, NATIVE}}
    mean = partial(mean_draws, codes=codes, weights=weights)
    totals = draw_metrics(SEGMENTATION, SegmentedFold(cases, tuple(metrics["classes"]), regions, mean))
    per_class = {(c, name): value for c in metrics["classes"] for name, value in regions[c].items()}
    return {("", name): value for name, value in totals.items()} | per_class


def _score_region(cases: pd.DataFrame, region: str, codes: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    counts = cases[[f"{count}_{region}" for count in ("both", "true", "predicted")]].to_numpy(np.float64)
    volumes, owners = pool_volumes(cases, region), codes[np.unique(cases["patient_id"], return_index=True)[1]]
    pooled = np.zeros((len(weights), 3))
    np.add.at(pooled, codes, counts)
    images, patients, totals = (
        score_annotated(*counts.T),
        score_annotated(*volumes),
        score_overlap(*(weights.T @ pooled).T),
    )
    found = {name: mean_draws(images[name], codes, weights) for name in SCORES}
    found |= {f"{name}_volume": mean_draws(patients[name], owners, weights) for name in SCORES}
    return found | {f"{name}_total": totals[name] for name in SCORES}


def mean_draws(values: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the mean of the defined values in each draw.

    Args:
        values: float64, (N,), NaN where undefined.
        codes: int64, (N,), the group of each value as a row of `weights`.
        weights: whole numbers, (P, B), how often each group is drawn.

    Returns:
        float64, (B,), NaN where a draw holds no defined value.
    """
    defined = ~np.isnan(values)
    sums = np.bincount(codes[defined], values[defined], len(weights))
    counts = np.bincount(codes[defined], minlength=len(weights))
    return divide(sums @ weights, counts @ weights)


def find_interval(draws: np.ndarray, groups: int) -> tuple[float | None, float | None, str]:
    """Compute the interval that holds the central draws, or say why there is none: low, high, reason.

    draws: float64, (B,), a score in each bootstrap draw.
    groups: number of groups that were drawn from.

    Only defined draws count, and each tail holds the share of them that expand_tail returns. If a tenth of the draws or
    more is undefined there is no interval, because the others are a biased choice.
    """
    if groups < 2:
        return None, None, "no interval: a single group of images"
    defined = draws[~np.isnan(draws)]
    if len(defined) <= DEFINED * len(draws):
        return None, None, f"no interval: undefined in {1 - len(defined) / len(draws):.0%} of the draws"
    tail = expand_tail(groups)
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high), ""


def expand_tail(groups: int) -> float:
    """Return the share of draws below a 95 % interval for this many groups: 0.025 for many, smaller for few.

    The spread of the draws is too small by a factor of sqrt((n - 1) / n), and quantiles of a normal distribution ignore
    that the spread is itself estimated. The expanded percentile interval (Hesterberg 2015, Am. Stat. 69:371) corrects
    both.
    """
    reach = stats.t.ppf(1 - SIGNIFICANT / 2, groups - 1) * np.sqrt(groups / (groups - 1))
    return float(stats.norm.sf(reach))
