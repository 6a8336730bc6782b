"""Operating points of two-class models: the threshold is chosen on the validation fold, and the test fold rates it.

A patient's probability is the mean of those of the patient's images, and a patient with a positive image is positive.
Likelihood ratios are those of Deeks and Altman (2004, BMJ 329:168). They give the predictive values at any prevalence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import Any

import numpy as np
import pandas as pd

from covbench.evaluation.comparison.intervals import Estimate, estimate_difference, estimate_score, explain_scope
from covbench.evaluation.comparison.thresholds import DrawnScores, choose_thresholds, draw_scores, share_below
from covbench.evaluation.comparison.validation import SharedDraws, ValidatedRun, name_model
from covbench.evaluation.metrics.classification import ONE_CLASS

IMAGE, PATIENT = "image", "patient"
SENSITIVITY, SPECIFICITY = "sensitivity", "specificity"
LEVELS = (0.90, 0.95)
POINTS = tuple(product((SPECIFICITY, SENSITIVITY), LEVELS))
"""The rate that a threshold has to hold, and how large it has to be."""
TOO_FEW = "the validation fold has too few of the class to promise this rate"
RATES = (SENSITIVITY, SPECIFICITY)


@dataclass(frozen=True)
class Rated:
    """An operating point of one run: once as it is, and in each bootstrap draw.

    threshold: the probability that is chosen. rates: rate -> its value. draws: rate -> float64, (B,).
    """

    threshold: float
    rates: Mapping[str, float]
    draws: Mapping[str, np.ndarray]


def tabulate_operating_points(runs: Sequence[ValidatedRun], shared: SharedDraws) -> Iterator[dict[str, Any]]:
    """Tabulate the operating points of every model of a two-class task.

    Args:
        runs: the runs of the task, ordered by model.
        shared: their draws.

    Yields:
        Rows of the table `operating_points`, without the task.
    """
    for (protocol, architecture, family), several in groupby(runs, key=name_model):
        seeds = list(several)
        keys = {"protocol": protocol, "architecture": architecture, "family": family}
        patients = all(one.run.metrics.get("patients") is not None for one in seeds)
        for unit in (IMAGE, PATIENT) if patients else (IMAGE,):
            yield from (keys | row for row in _tabulate_model(seeds, unit, shared))


def _tabulate_model(seeds: Sequence[ValidatedRun], unit: str, shared: SharedDraws) -> Iterator[dict[str, Any]]:
    folds = [[_take_units(one, rows, unit) for rows in (one.validation, one.test)] for one in seeds]
    reason = next((one.reason for one in seeds if one.reason), "")
    rated = [] if reason else [rate_points(validation, test, shared) for validation, test in folds]
    validation, test = (pd.concat(tables, ignore_index=True) for tables in zip(*folds, strict=True))
    counts = {SENSITIVITY: _count_groups(test, True), SPECIFICITY: _count_groups(test, False)}
    for promised, level in POINTS:
        behind = _count_groups(validation, promised == SENSITIVITY)
        row = {"unit": unit, "promised": promised, "level": level, "seeds": len(seeds)}
        row |= {"positive_groups": counts[SENSITIVITY], "negative_groups": counts[SPECIFICITY]}
        row |= {"validation_groups": behind, "prevalence": float(test["positive"].mean())}
        found = [points[promised, level] for points in rated]
        groups = {name: min(behind, count) for name, count in counts.items()}
        yield row | (estimate_point(found, groups) if found else {"covers": "", "reason": reason})


def _count_groups(units: pd.DataFrame, side: bool) -> int:
    """Count the groups of all folds together that hold a positive (True) or a negative (False)."""
    return int(units.loc[units["positive"] == side, "group"].nunique())


def pool_patients(rows: pd.DataFrame, positive: int) -> pd.DataFrame:
    """Make a row per patient: mean probability of the positive class, whether any image is positive, and the group.

    rows: the columns patient_id, group, truth and p_ of the positive class. Returns probability, positive, group.
    """
    given = pd.DataFrame({"probability": rows[f"p_{positive}"].astype(float), "positive": rows["truth"] == positive})
    given = given.assign(group=rows["group"], patient=rows["patient_id"])
    return given.groupby("patient").agg(
        probability=("probability", "mean"), positive=("positive", "any"), group=("group", "first")
    )


def _take_units(one: ValidatedRun, rows: pd.DataFrame, unit: str) -> pd.DataFrame:
    assert one.positive is not None
    images = rows if unit == PATIENT else rows.assign(patient_id=np.arange(len(rows)))
    return pool_patients(images, one.positive)


DrawnFold = Mapping[bool, DrawnScores]
"""The scores of the positives (True) and of the negatives (False) of a fold."""


def rate_points(validation: pd.DataFrame, test: pd.DataFrame, shared: SharedDraws) -> dict[tuple[str, float], Rated]:
    """Choose the threshold of each of POINTS on the validation fold, and rate the test fold at it.

    Args:
        validation: as pool_patients returns it.
        test: the same of the test fold.
        shared: the draws of the groups of both.

    Returns:
        Each operating point; NaN where validation has too few of the class whose rate is promised.
    """
    once = SharedDraws(shared.groups, np.ones((len(shared.groups), 1), np.uint16))
    found: dict[tuple[str, float], Rated] = {}
    for promised in (SPECIFICITY, SENSITIVITY):
        turn = promised == SENSITIVITY
        chosen_on, tested = ([_draw_fold(rows, draws, turn) for draws in (once, shared)] for rows in (validation, test))
        for level in LEVELS:
            found[promised, level] = _rate_point(chosen_on, tested, promised, level)
    return found


def _draw_fold(units: pd.DataFrame, draws: SharedDraws, turn: bool) -> DrawnFold:
    """turn: whether a low score is to mean positive, because the rate of the positives is promised."""
    codes, ill = draws.encode(units), units["positive"].to_numpy()
    scores = (-1 if turn else 1) * units["probability"].to_numpy()
    return {side: draw_scores(scores[ill == side], codes[ill == side], draws.weights) for side in (True, False)}


def _rate_point(chosen_on: Sequence[DrawnFold], tested: Sequence[DrawnFold], promised: str, level: float) -> Rated:
    """chosen_on, tested: the folds as they are, and the same in each draw."""
    side = promised == SENSITIVITY
    thresholds = [choose_thresholds(fold[side], level) for fold in chosen_on]
    other = next(name for name in RATES if name != promised)
    held = [share_below(fold[side], found) for fold, found in zip(tested, thresholds, strict=True)]
    passed = [1 - share_below(fold[not side], found) for fold, found in zip(tested, thresholds, strict=True)]
    return Rated(
        float(-thresholds[0][0] if side else thresholds[0][0]),
        {promised: float(held[0][0]), other: float(passed[0][0])},
        {promised: held[1], other: passed[1]},
    )


def estimate_point(rated: Sequence[Rated], groups: Mapping[str, int]) -> dict[str, Any]:
    """Estimate an operating point from all seeds of a model.

    Args:
        rated: the operating point of each seed.
        groups: rate -> the groups that it rests on, of test or validation, whichever has fewer.

    Returns:
        Columns of the table `operating_points`.
    """
    if np.isnan([one.threshold for one in rated]).any():
        return {"covers": "", "reason": TOO_FEW}
    values = {name: np.array([one.rates[name] for one in rated]) for name in RATES}
    draws = {name: np.stack([one.draws[name] for one in rated]) for name in RATES}
    if np.isnan(np.stack(list(values.values()))).any():
        return {"covers": "", "reason": ONE_CLASS}
    estimates = {name: estimate_score(values[name], draws[name], groups[name], rate=True) for name in RATES}
    row: dict[str, Any] = {"thresholds": " ".join(f"{one.threshold:.4g}" for one in rated)}
    for name, estimate in estimates.items():
        row |= _bound(name, estimate.value, estimate.low, estimate.high)
    for name, (hits, errors) in _RATIOS.items():
        logs = log_ratio(hits(values), errors(values))
        if np.isfinite(logs).all():
            estimates[name] = estimate_difference(logs, log_ratio(hits(draws), errors(draws)), min(groups.values()))
            row |= _bound(name, *np.exp([getattr(estimates[name], end) for end in ("value", "low", "high")]))
    return row | _explain(estimates, len(rated))


_Rates = Mapping[str, np.ndarray]
_RATIOS: dict[str, tuple[Callable[[_Rates], np.ndarray], Callable[[_Rates], np.ndarray]]] = {
    "lr_positive": (lambda rates: rates[SENSITIVITY], lambda rates: 1 - rates[SPECIFICITY]),
    "lr_negative": (lambda rates: 1 - rates[SENSITIVITY], lambda rates: rates[SPECIFICITY]),
}


def log_ratio(hits: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Compute the logarithm of a ratio of means over seeds, as one term per seed (delta method).

    Args:
        hits: float64, (S,) or (S, B), the numerator of each seed.
        errors: the same of the denominator.

    Returns:
        In the same shape, terms whose mean over seeds is the logarithm of the ratio; NaN where undefined.
    """
    above, below = hits.mean(axis=0), errors.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms: np.ndarray = np.log(above / below) + hits / above - errors / below
    return np.where(np.isfinite(terms), terms, np.nan)


def _bound(name: str, value: float, low: float, high: float) -> dict[str, float]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _explain(found: Mapping[str, Estimate], seeds: int) -> dict[str, str]:
    """Say what the intervals cover, and which value has none or another one."""
    reasons = [f"{name}: {one.reason}" if one.reason else explain_scope(one, seeds) for name, one in found.items()]
    return {
        "covers": next((one.covers for one in found.values() if one.covers), ""),
        "reason": "; ".join(dict.fromkeys(filter(None, reasons))),
    }
