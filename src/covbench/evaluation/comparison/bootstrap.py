"""Bootstrap over groups of images: compute the scores of a run in every bootstrap draw at once.

A group is what no split divides: a patient with all near-duplicates. Its images are not independent. A draw takes as
many groups as there are, with replacement. An image counts as often as its group was drawn. Draws are stored as
weights, (P, B), so every score is a product of matrices, and runs that share weights share their draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.sparse import csr_array

from covbench.evaluation.classification import rate_classes
from covbench.evaluation.comparison.intervals import DEFINED, SIGNIFICANT
from covbench.evaluation.metrics.classification import ClassifiedFold
from covbench.evaluation.metrics.registry import draw_metrics
from covbench.evaluation.metrics.segmentation import LESION, NATIVE, SCORES, SegmentedFold
from covbench.evaluation.ratios import divide
from covbench.evaluation.segmentation import pool_volumes, score_annotated, score_overlap
from covbench.schema import CLASSIFICATION, SEGMENTATION

DRAWS = 10_000
SEED = 0
BLOCK = 2000
GRID = 101
UNDRAWN = "no interval: bootstrap draws do not score this metric"

Draws = dict[tuple[str, str], np.ndarray]


def draw_groups(groups: int, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """Draw groups with replacement, and count how often each is drawn.

    Args:
        groups: number of groups P.
        draws: number of bootstrap draws B.
        seed: seed of the draws.

    Returns:
        float64, (P, B), each column with sum P.
    """
    chosen = np.random.default_rng(seed).integers(0, groups, (draws, groups))
    flat = (chosen + np.arange(draws)[:, None] * groups).ravel()
    counts = np.bincount(flat, minlength=draws * groups).reshape(draws, groups)
    return np.ascontiguousarray(counts.T, np.float64)


def draw_blocks(groups: int, first_seed: int = SEED) -> Iterator[np.ndarray]:
    """Yield DRAWS draws in blocks of BLOCK, float64, (P, BLOCK). All draws of 15,000 groups would need gigabytes."""
    for start in range(0, DRAWS, BLOCK):
        yield draw_groups(groups, BLOCK, seed=first_seed + start)


def keep_draws(groups: int, first_seed: int = SEED) -> np.ndarray:
    """Keep DRAWS draws for several runs: uint16, (P, DRAWS), a quarter of the memory of float64."""
    kept = np.empty((groups, DRAWS), np.uint16)
    for number, block in enumerate(draw_blocks(groups, first_seed)):
        kept[:, number * BLOCK : (number + 1) * BLOCK] = block
    return kept


def score_blocks(
    metrics: Mapping[str, Any], cases: pd.DataFrame, groups: pd.Index, blocks: Iterable[np.ndarray]
) -> Draws:
    """Score a run in blocks of draws, as score_draws does in one.

    Args:
        metrics: the content of metrics.json.
        cases: the content of cases.parquet.
        groups: (P,), the groups that are drawn from.
        blocks: each float64, (P, BLOCK).

    Returns:
        float32, (DRAWS,), by (class, metric).
    """
    found = [score_draws(metrics, cases, groups, weights) for weights in blocks]
    return {key: np.concatenate([block[key] for block in found], dtype=np.float32) for key in found[0]}


def split_draws(weights: np.ndarray) -> Iterator[np.ndarray]:
    """Yield kept draws, uint16, (P, B), in blocks: float64, (P, BLOCK)."""
    for start in range(0, weights.shape[1], BLOCK):
        yield weights[:, start : start + BLOCK].astype(np.float64)


def score_draws(metrics: Mapping[str, Any], cases: pd.DataFrame, groups: pd.Index, weights: np.ndarray) -> Draws:
    """Compute every score of a run in each draw.

    With weights of 1 these are the scores of metrics.json.

    Args:
        metrics: the content of metrics.json, read for its kind and classes.
        cases: the content of cases.parquet.
        groups: (P,), the groups that are drawn from. They include all groups of the cases.
        weights: float64, (P, B), how often each group is drawn.

    Returns:
        float64, (B,), by (class, metric). The class is "" for scores of the whole task. A score is NaN in a draw that
        leaves it undefined. Metrics that cannot be drawn are left out.
    """
    codes = groups.get_indexer(pd.Index(cases["group"]))
    if metrics["kind"] == CLASSIFICATION:
        return _score_classification(metrics, cases, codes, weights)
    return _score_segmentation(metrics, cases, codes, weights)


def list_groups(tables: Iterable[pd.DataFrame]) -> pd.Index:
    """List the groups of several tables of cases, each once and sorted."""
    return pd.Index(sorted({group for cases in tables for group in cases["group"].unique()}))


def _score_classification(
    metrics: Mapping[str, Any], cases: pd.DataFrame, codes: np.ndarray, weights: np.ndarray
) -> Draws:
    classes, positive = metrics["classes"], metrics["positive"]
    number = classes.index(positive) if positive else None
    truth, count = cases["truth"].to_numpy(), len(classes)

    def draw_confusion(answers: str) -> np.ndarray:
        cells = (codes * count + truth) * count + cases[answers].to_numpy()
        confusion = np.bincount(cells, minlength=len(weights) * count**2).reshape(len(weights), -1)
        drawn: np.ndarray = (weights.T @ confusion).reshape(-1, count, count)
        return drawn

    drawn = draw_confusion("predicted")
    rates = rate_classes(drawn)
    rounded = rate_classes(draw_confusion("rounded")) if "rounded" in cases else None
    ranks = [rank_draws(truth == c, cases[f"p_{c}"].to_numpy(), codes, weights) for c in range(count)]
    rates["auroc"], rates["average_precision"] = (np.stack(values, axis=-1) for values in zip(*ranks, strict=True))
    mean = partial(_mean_draws, codes=codes, weights=weights)
    fold = ClassifiedFold(cases, tuple(classes), number, drawn, rates, mean, rounded)
    totals = draw_metrics(CLASSIFICATION, fold, positive=number is not None)
    shown = [rate for rate in rates if rate != "support"]
    per_class = {(name, rate): rates[rate][:, c] for c, name in enumerate(classes) for rate in shown}
    return {("", name): value for name, value in totals.items()} | per_class


def rank_draws(
    is_class: np.ndarray, scores: np.ndarray, codes: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute AUROC (ties count half) and average precision (a step per distinct score) in each draw.

    Args:
        is_class: bool, (N,), whether each image is of the class.
        scores: float, (N,), the model's probability of the class.
        codes: int64, (N,), the group of each image as a row of `weights`.
        weights: float64, (P, B), how often each group is drawn.

    Returns:
        AUROC and average precision, float64, (B,) each, NaN where undefined. Sums are in float32, so they are exact to
        about 1e-6.
    """
    level = rank_scores(scores)
    shape = (level.max() + 1, len(weights))
    in_class, others = (
        csr_array((np.ones(part.sum(), np.float32), (level[part], codes[part])), shape)
        for part in (is_class, ~is_class)
    )
    auroc, precision = np.empty(weights.shape[1]), np.empty(weights.shape[1])
    for start in range(0, weights.shape[1], BLOCK):
        drawn = weights[:, start : start + BLOCK].astype(np.float32)
        hits, misses = in_class @ drawn, others @ drawn
        above, below = _accumulate(hits), _accumulate(misses)
        found = slice(start, start + BLOCK)
        auroc[found] = divide(np.einsum("gb,gb->b", misses, above - hits / 2), above[-1] * below[-1])
        precision[found] = divide(np.einsum("gb,gb->b", hits, above / np.maximum(above + below, 1)), above[-1])
    return auroc, precision


def band_curves(is_class: np.ndarray, scores: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> pd.DataFrame:
    """Compute pointwise 95 % bands of the ROC and the precision-recall curve, at GRID points between 0 and 1.

    Args:
        is_class: bool, (N,), whether each image is of the class.
        scores: float, (N,), the model's probability of the class.
        codes: int64, (N,), the group of each image as a row of `weights`.
        weights: float64, (P, B), how often each group is drawn.

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


def rank_scores(scores: np.ndarray) -> np.ndarray:
    """Rank scores, 0 for the highest, 1 for the next distinct one, and so on: int64, (N,)."""
    return np.unique(-scores, return_inverse=True)[1]


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


def _accumulate(rows: np.ndarray) -> np.ndarray:
    """Sum running down the rows, (G, B). It is several times faster than cumsum(axis=0), which strides."""
    sums = rows.copy()
    for row in range(1, len(sums)):
        sums[row] += sums[row - 1]
    return sums


def _score_segmentation(
    metrics: Mapping[str, Any], cases: pd.DataFrame, codes: np.ndarray, weights: np.ndarray
) -> Draws:
    regions = {name: _score_region(cases, name, codes, weights) for name in {*metrics["classes"], LESION, NATIVE}}
    mean = partial(_mean_draws, codes=codes, weights=weights)
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
    found = {name: _mean_draws(images[name], codes, weights) for name in SCORES}
    found |= {f"{name}_volume": _mean_draws(patients[name], owners, weights) for name in SCORES}
    return found | {f"{name}_total": totals[name] for name in SCORES}


def _mean_draws(values: np.ndarray, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the mean of the defined values in each draw: float64, (B,)."""
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
