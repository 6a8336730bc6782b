"""Compare every pair of models on the same test images: one verdict per pair, and ranks that follow from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from covbench.evaluation.comparison.contestants import Contestant, estimate_contestant, estimate_gap
from covbench.evaluation.comparison.evidence import count_differing, read_answers
from covbench.evaluation.comparison.intervals import BOTH, SIGNIFICANT, Error, Estimate, explain_scope
from covbench.evaluation.comparison.ranks import correct_holm, range_ranks, resolvable_difference
from covbench.evaluation.definitions import METRICS
from covbench.schema import CLASSIFICATION, SEGMENTATION

COMPARED = {
    CLASSIFICATION: ("auroc", "accuracy", "balanced_accuracy"),
    SEGMENTATION: ("dice_lesion", "false_positive_rate"),
}
"""The metrics by which models are ranked and tested."""
BETTER, WORSE, UNDECIDED, UNDECIDABLE = VERDICTS = ("better", "worse", "undecided", "cannot be decided")
ARCHITECTURES, TRAINED = SCOPES = ("architectures", "trained models")
TESTS = {
    ARCHITECTURES: "t test of the difference, groups and seeds",
    TRAINED: "t test of the difference, groups",
}


def compare_model_pairs(contestants: Sequence[Contestant]) -> dict[str, list[dict[str, Any]]]:
    """Make rows of `pairs`, `ranks` and `resolution` for one task and protocol, without the columns of these two.

    Each seed has its own test fold. Only models with the seeds of the most complete model are compared. The others are
    in no table.
    """
    seeds = max((set(contestant.runs) for contestant in contestants), key=len)
    contestants = [contestant for contestant in contestants if set(contestant.runs) == seeds]
    kind = contestants[0].kind
    cases = _align_cases(contestants)
    rows: dict[str, list[dict[str, Any]]] = {"pairs": [], "ranks": [], "resolution": []}
    for metric in COMPARED[kind]:
        scored = [contestant for contestant in contestants if contestant.average(metric) is not None]
        if scored:
            lower = METRICS[kind][metric].lower_is_better
            pairs = _test_pairs(metric, scored, cases, lower)
            rows["pairs"] += [row for row, _ in pairs]
            rows["ranks"] += _rank(metric, scored, [row for row, _ in pairs], lower)
            rows["resolution"].append(_resolve(metric, scored, [found for _, found in pairs]))
    return rows


def _test_pairs(
    metric: str, contestants: Sequence[Contestant], cases: Mapping[str, Sequence[pd.DataFrame]], lower: bool
) -> list[tuple[dict[str, Any], Estimate]]:
    pairs = list(combinations(contestants, 2))
    found = [estimate_gap(*pair, metric) for pair in pairs]
    differing = _count_differing(metric, contestants, cases)
    smallest = np.array([min(1.0, 2.0 ** (1 - groups)) for groups in differing])
    values = np.maximum([each.p for each in found], smallest)
    values[smallest >= SIGNIFICANT] = np.nan
    corrected = correct_holm(values)
    reachable = correct_holm(np.where(np.isnan(values), np.nan, smallest))
    rows = []
    for number, (one, other) in enumerate(pairs):
        seeds = len(one.list_defined(metric))
        scope = ARCHITECTURES if found[number].covers == BOTH else TRAINED
        row: dict[str, Any] = {"metric": metric, "one": one.architecture, "other": other.architecture, "seeds": seeds}
        row |= {"groups": differing[number], "difference": found[number].value, "scope": scope}
        row |= {"test": TESTS[scope], "smallest_p": smallest[number]}
        if np.isnan(values[number]):
            row |= dict.fromkeys(("low", "high", "p", "p_holm"))
            row |= {"verdict": UNDECIDABLE, "reason": _explain(found[number], differing[number], one.unit)}
        else:
            row |= {"low": found[number].low, "high": found[number].high}
            row |= {"p": values[number], "p_holm": corrected[number]}
            row |= {"verdict": judge_pair(found[number].value, corrected[number], lower)}
            row |= {"reason": explain_scope(found[number], seeds)}
        if reachable[number] >= SIGNIFICANT:
            many = int((~np.isnan(values)).sum())
            reason = f"cannot be decided with {differing[number]} {one.unit} and {many} model pairs"
            row |= {"verdict": UNDECIDABLE, "reason": reason}
        rows.append((row, found[number]))
    return rows


def judge_pair(difference: float, p: float, lower: bool = False) -> str:
    """Judge the first model of a pair: one of VERDICTS.

    Args:
        difference: first minus second.
        p: the p-value after Holm's correction.
        lower: whether a smaller value is the better one.

    Returns:
        BETTER, WORSE or UNDECIDED.
    """
    if not p < SIGNIFICANT:
        return UNDECIDED
    return BETTER if (difference > 0) != lower else WORSE


def _explain(found: Estimate, differing: int, unit: str) -> str:
    """Say why a pair cannot be decided."""
    if not differing:
        return "both models give the same answers"
    if 2.0 ** (1 - differing) >= SIGNIFICANT:
        return f"cannot be decided with {differing} {unit} whose answers differ"
    return found.reason


def _align_cases(contestants: Sequence[Contestant]) -> dict[str, list[pd.DataFrame]]:
    """Return each model's cases of each seed, with the test images in the order of the first model."""
    first = contestants[0].runs
    return {
        contestant.architecture: [_align(first[seed].cases, run.cases) for seed, run in contestant.runs.items()]
        for contestant in contestants
    }


def _align(first: pd.DataFrame, cases: pd.DataFrame) -> pd.DataFrame:
    keys = ["image_id", "copy"]
    if cases[keys].equals(first[keys]):
        return cases
    return first[keys].merge(cases, on=keys, how="left", validate="one_to_one")


def _count_differing(
    metric: str, contestants: Sequence[Contestant], cases: Mapping[str, Sequence[pd.DataFrame]]
) -> list[int]:
    """Count the groups in which the models of each pair differ, in the order of the pairs."""
    names = [contestant.architecture for contestant in contestants]
    groups = pd.factorize(pd.concat([fold["group"] for fold in cases[names[0]]]))[0]
    answers = [np.concatenate([read_answers(fold, metric) for fold in cases[name]]) for name in names]
    return [count_differing(groups, *pair) for pair in combinations(answers, 2)]


def _rank(
    metric: str, contestants: Sequence[Contestant], pairs: Sequence[dict[str, Any]], lower: bool
) -> Iterator[dict[str, Any]]:
    better = [(row["one"], row["other"]) for row in pairs if row["verdict"] == BETTER]
    better += [(row["other"], row["one"]) for row in pairs if row["verdict"] == WORSE]
    ranks = range_ranks([contestant.architecture for contestant in contestants], better)
    scores = np.array([contestant.average(metric) for contestant in contestants], np.float64)
    for number in np.argsort(scores if lower else -scores, kind="stable"):
        contestant = contestants[number]
        best, worst = ranks[contestant.architecture]
        names = {"metric": metric, "architecture": contestant.architecture, "family": contestant.family}
        yield {**names, "score": scores[number], "best": best, "worst": worst, "models": len(contestants)}


def _resolve(metric: str, contestants: Sequence[Contestant], gaps: Sequence[Estimate]) -> dict[str, Any]:
    """Compute the resolvable difference from the pair with the median standard error.

    A single model is treated as if it were compared with an independent one.
    """
    row: dict[str, Any] = {"metric": metric, "seeds": len(contestants[0].runs), "models": len(contestants)}
    row |= {"groups": max(contestant.groups[metric] for contestant in contestants)}
    errors = sorted((gap.error for gap in gaps if gap.error), key=lambda error: error.se)
    basis = "median over pairs of models"
    if len(contestants) == 1:
        alone = estimate_contestant(contestants[0], metric).error
        errors, basis = [double_error(alone)] if alone else [], "one model; a contestant independent of it"
    if not errors:
        return row | {"error": None, "df": None, "resolvable": None, "basis": "no pair has an interval"}
    chosen = errors[len(errors) // 2]
    row |= {"error": chosen.se, "df": chosen.df, "basis": basis}
    return row | {"resolvable": resolvable_difference(chosen, len(errors))}


def double_error(error: Error) -> Error:
    """Return the error of a difference between two models with this error each, independent of each other."""
    patients, training, between = 2 * error.patients, 2 * error.training, 2 * error.between
    return replace(error, patients=patients, training=training, between=between, strict=True)
