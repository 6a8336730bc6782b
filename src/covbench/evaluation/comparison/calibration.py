"""How far probabilities can be taken at their word, before and after temperature scaling, with intervals.

The expected calibration error is adaptive: its bins hold equally many images (Nixon et al. 2019, "Measuring calibration
in deep learning", CVPR workshops). Bins stay as they are in all bootstrap draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from covbench.evaluation.comparison.contestants import WHOLE
from covbench.evaluation.comparison.intervals import Estimate, estimate_difference, estimate_score, explain_scope
from covbench.evaluation.comparison.recalibration import (
    INTERCEPT,
    SLOPE,
    explain_undefined,
    find_logits,
    recalibrate,
)
from covbench.evaluation.comparison.temperature import (
    Temperature,
    fit_temperature,
    interpolate_draws,
    scale_probabilities,
)
from covbench.evaluation.comparison.validation import SharedDraws, ValidatedRun, name_model
from covbench.evaluation.metrics.classification import log_losses, square_errors
from covbench.evaluation.ratios import divide
from covbench.schema import LABELS_ONLY

BINS = 10
ECE, BRIER, LOG_LOSS = "ece", "brier", "log_loss"
PROPER = (LOG_LOSS, BRIER)

DrawnScore = tuple[float, np.ndarray]
"""A score, and the same in each bootstrap draw, (B,)."""


@dataclass(frozen=True)
class Calibration:
    """The calibration of one run.

    scores: (class, metric) -> a score with its draws; the class is WHOLE for all classes together. undefined: (class,
    metric) -> why it is none. temperature: of the run, or why it has none. changes: metric -> what scaling changes;
    empty without a temperature.
    """

    scores: Mapping[tuple[str, str], DrawnScore]
    undefined: Mapping[tuple[str, str], str]
    temperature: Temperature | str
    changes: Mapping[str, DrawnScore]


@dataclass(frozen=True)
class Answers:
    """Probabilities for one fold. probabilities: float64, (N, C). truth, codes: int64, (N,), class and group."""

    probabilities: np.ndarray
    truth: np.ndarray
    codes: np.ndarray


def tabulate_calibration(runs: Sequence[ValidatedRun], shared: SharedDraws) -> Iterator[dict[str, Any]]:
    """Tabulate the calibration of every model of a classification.

    Args:
        runs: the runs of the task, ordered by model.
        shared: their draws.

    Yields:
        Rows of the table `calibration`, without the task. Answers without probabilities have none.
    """
    for (protocol, architecture, family), several in groupby(runs, key=name_model):
        seeds = [one for one in several if LABELS_ONLY not in one.run.cases]
        measured = [measure_calibration(one, shared) for one in seeds]
        keys = {"protocol": protocol, "architecture": architecture, "family": family, "seeds": len(seeds)}
        for key in _list_metrics(seeds):
            groups = _count_groups(seeds, key[0])
            yield keys | {"class": key[0], "metric": key[1], "groups": groups[0]} | _estimate(measured, key, groups)


def _list_metrics(seeds: Sequence[ValidatedRun]) -> list[tuple[str, str]]:
    """List class and metric of each row: slope and intercept of the positive class, or of each class of several."""
    if not seeds:
        return []
    metrics = seeds[0].run.metrics
    classes = [metrics["positive"]] if metrics.get("positive") else metrics["classes"]
    return [(WHOLE, name) for name in (ECE, *PROPER)] + [(c, name) for c in classes for name in (SLOPE, INTERCEPT)]


def _count_groups(seeds: Sequence[ValidatedRun], name: str) -> tuple[int, int]:
    """Count the groups that a score rests on, and those that its change by scaling rests on."""
    test, validation = (pd.concat([getattr(one, fold) for one in seeds]) for fold in ("test", "validation"))
    everyone = test["group"].nunique()
    if name:
        inside = test["truth"] == seeds[0].run.metrics["classes"].index(name)
        return min(everyone, 2 * min(test.loc[side, "group"].nunique() for side in (inside, ~inside))), 0
    return everyone, min(everyone, validation["group"].nunique())


def measure_calibration(one: ValidatedRun, shared: SharedDraws) -> Calibration:
    """Measure the calibration of one run on its test fold, before and after temperature scaling.

    Args:
        one: the run.
        shared: the draws of the groups of its folds.

    Returns:
        Its scores.
    """
    classes, test = one.run.metrics["classes"], _read_answers(one, one.test, shared)
    scores: dict[tuple[str, str], DrawnScore] = {(WHOLE, name): found for name, found in _score(test, shared).items()}
    undefined: dict[tuple[str, str], str] = {}
    for number, name in enumerate(classes):
        logits, inside = find_logits(test.probabilities[:, number]), test.truth == number
        found = recalibrate(logits, inside, test.codes, shared)
        scores |= {(name, metric): value for metric, value in found.items()}
        undefined |= {(name, metric): why for metric, why in explain_undefined(logits, inside).items()}
    temperature: Temperature | str = one.reason
    if not one.reason:
        validation = _read_answers(one, one.validation, shared)
        temperature = fit_temperature(validation.probabilities, validation.truth, validation.codes, shared)
    changes = {} if isinstance(temperature, str) else measure_changes(test, temperature, shared)
    return Calibration(scores, undefined, temperature, changes)


def _read_answers(one: ValidatedRun, rows: pd.DataFrame, shared: SharedDraws) -> Answers:
    names = [f"p_{number}" for number in range(len(one.run.metrics["classes"]))]
    return Answers(rows[names].to_numpy(np.float64), rows["truth"].to_numpy(), shared.encode(rows))


def score_images(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute log loss and Brier score of each image, in the order of PROPER.

    probabilities: float64, (N, C). truth: int64, (N,). Returns float64, (2, N).
    """
    return np.stack([log_losses(probabilities, truth), square_errors(probabilities, truth)])


def bin_images(probabilities: np.ndarray) -> np.ndarray:
    """Put images into BINS bins with equally many images, by the probability of the predicted class: int64, (N,).

    Images with the same probability share a bin. probabilities: float64, (N, C).
    """
    ranks = stats.rankdata(probabilities.max(axis=1), method="min") - 1
    bins: np.ndarray = (ranks * BINS / len(ranks)).astype(np.int64)
    return bins


def _measure_gaps(probabilities: np.ndarray, truth: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Confidence less being right, of each image in the row of its bin: float64, (BINS, N)."""
    gaps = probabilities.max(axis=1) - (probabilities.argmax(axis=1) == truth)
    return np.where(bins == np.arange(BINS)[:, None], gaps, 0.0)


def find_error(gaps: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Compute the expected calibration error from the sum of gaps in each bin. gaps: (BINS, …). images: (…)."""
    return divide(np.abs(gaps).sum(axis=0), images)


def _score(test: Answers, shared: SharedDraws) -> dict[str, DrawnScore]:
    rows = score_images(test.probabilities, test.truth)
    gaps = _measure_gaps(test.probabilities, test.truth, bin_images(test.probabilities))
    images, *drawn = shared.add_up(np.concatenate([np.ones((1, len(test.truth))), rows, gaps]), test.codes)
    found = {name: (float(rows[k].mean()), divide(drawn[k], images)) for k, name in enumerate(PROPER)}
    error = float(find_error(gaps.sum(axis=1), np.array(len(test.truth))))
    return found | {ECE: (error, find_error(np.stack(drawn[len(PROPER) :]), images))}


def measure_changes(test: Answers, temperature: Temperature, shared: SharedDraws) -> dict[str, DrawnScore]:
    """Compute what temperature scaling changes: the score after it less the score before, with draws.

    Args:
        test: the answers of a test fold.
        temperature: fitted on validation. Each draw has its own.
        shared: the draws.

    Returns:
        ECE, LOG_LOSS and BRIER -> change and draws.
    """
    step = max(float(np.nanstd(temperature.drawn)), 1e-6)
    steps = (temperature.drawn - temperature.inverse) / step
    tried = [scale_probabilities(test.probabilities, temperature.inverse + k * step) for k in (-1, 0, 1)]
    before, bins = score_images(test.probabilities, test.truth), bin_images(tried[1])
    rows = [np.concatenate([score_images(p, test.truth) - before, _measure_gaps(p, test.truth, bins)]) for p in tried]
    own = _measure_gaps(test.probabilities, test.truth, bin_images(test.probabilities))
    sums = shared.add_up(np.concatenate([np.ones((1, len(test.truth))), own, *rows]), test.codes)
    images, drawn_own, at = sums[0], sums[1 : 1 + BINS], sums[1 + BINS :].reshape(3, -1, sums.shape[1])
    drawn = interpolate_draws((at[0], at[1], at[2]), steps)
    changes = {name: (float(rows[1][k].mean()), divide(drawn[k], images)) for k, name in enumerate(PROPER)}
    count = np.array(len(test.truth))
    error = find_error(rows[1][len(PROPER) :].sum(axis=1), count) - find_error(own.sum(axis=1), count)
    return changes | {
        ECE: (float(error), find_error(drawn[len(PROPER) :], images) - find_error(drawn_own, images)),
    }


def _estimate(measured: Sequence[Calibration], key: tuple[str, str], groups: tuple[int, int]) -> dict[str, Any]:
    """Estimate a score over all seeds, and its change where all of them have a temperature."""
    if undefined := [one.undefined[key] for one in measured if key in one.undefined]:
        return {"covers": "", "reason": f"undefined: {undefined[0]}"}
    estimate = estimate_score if key[0] == WHOLE else estimate_difference
    values, draws = _stack([one.scores[key] for one in measured])
    found = estimate(values, draws, groups[0])
    row = {"value": found.value, "low": found.low, "high": found.high, "covers": found.covers}
    reasons = [explain_scope(found, len(measured))]
    if key[0] == WHOLE:
        missing = [one.temperature for one in measured if isinstance(one.temperature, str)]
        reasons += missing[:1]
        if not missing:
            change = _estimate_change(measured, key[1], groups[1])
            row |= {"scaled": found.value + change.value, **_list_temperatures(measured)}
            row |= change.name_columns("change")
            reasons.append(f"change: {change.reason}" if change.reason else "")
    return row | {"reason": "; ".join(dict.fromkeys(filter(None, reasons)))}


def _estimate_change(measured: Sequence[Calibration], metric: str, groups: int) -> Estimate:
    return estimate_difference(*_stack([one.changes[metric] for one in measured]), groups)


def _list_temperatures(measured: Sequence[Calibration]) -> dict[str, str]:
    fitted = [one.temperature for one in measured if isinstance(one.temperature, Temperature)]
    return {"temperatures": " ".join(f"{1 / one.inverse:.3f}" for one in fitted)}


def _stack(scores: Sequence[DrawnScore]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([value for value, _ in scores]), np.stack([draws for _, draws in scores])
