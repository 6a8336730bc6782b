"""Register the metrics by kind of task and name, and compute them all for a test fold or for bootstrap draws of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from covbench.evaluation.metrics.columns import SHAPE_COLUMNS
from covbench.schema import BACKGROUND, CLASSIFICATION, SEGMENTATION, CovbenchError

Function = Callable[[Any], Any]
Reason = Callable[[Any], str]

LESION, LESION_FREE = "lesion", "no lesion"
EVERY_CLASS, EVERY_LESION_CLASS = "every class", "every class but the background"
RANKED = ("auroc", "average_precision")
RESTS_ON = {
    CLASSIFICATION: ("recall", "specificity", "precision", "f1", *RANKED),
    SEGMENTATION: (LESION, LESION_FREE, BACKGROUND, EVERY_CLASS, EVERY_LESION_CLASS, *SHAPE_COLUMNS),
}
"""By kind, what can decide a metric: the images that a rate of a class counts, those whose true mask holds this, or
those with a value in this column of the cases.
"""


@dataclass(frozen=True)
class Metric:
    """A metric of a test fold.

    name: in metrics.json and in the tables. label: its heading. definition: what exactly it counts.
    function: from a ClassifiedFold or SegmentedFold to a number, NaN where undefined; for B bootstrap draws, to (B,).
    reason: from such a fold to the reason why the metric is undefined on it.
    drawn: whether `function` works on bootstrap draws; otherwise the metric has no interval.
    positive_only: only for tasks with a positive class. rounded_only: only where logits were stored and can be rounded.
    in_report: whether the report's tables show it.
    lower_is_better: whether a smaller value is the better one. rate: whether it is a share of images: 0 and 1 then have
        an exact interval.
    rests_on: which images decide it, a word of RESTS_ON: its interval counts their groups. Empty: every image.
    unit: `mm`, `ml` or `%` where it has one. It is then no share, and its interval may pass 0 and 1.
    """

    name: str
    label: str
    definition: str
    function: Function
    reason: Reason
    drawn: bool = True
    positive_only: bool = False
    rounded_only: bool = False
    in_report: bool = True
    lower_is_better: bool = False
    rate: bool = False
    rests_on: str = ""
    unit: str = ""


METRICS: dict[str, dict[str, Metric]] = {CLASSIFICATION: {}, SEGMENTATION: {}}
"""By kind and name, in the order of metrics.json and of every table."""


def undefined_here(_: Any) -> str:
    """Return the reason for a metric that has no reason of its own."""
    return "undefined on this test fold"


def register_metric(
    kind: str,
    label: str,
    definition: str,
    name: str = "",
    reason: Reason = undefined_here,
    rests_on: str = "",
    unit: str = "",
    **traits: bool,
) -> Callable[[Function], Function]:
    """Decorate a function of a test fold to make it a metric.

    Args:
        kind: classification or segmentation.
        label: the metric's heading.
        definition: what exactly it counts, in a sentence.
        name: the metric's name; if left out, the name of the function.
        reason: from a fold to the reason why the metric is undefined on it.
        rests_on: a word of RESTS_ON; if left out, every image decides the metric.
        unit: `mm`, `ml` or `%`; empty for a share.
        traits: `drawn`, `positive_only`, `rounded_only`, `in_report`, `lower_is_better` and `rate` of Metric.

    Returns:
        The decorator, which returns the function unchanged.

    Raises:
        CovbenchError: The kind already has a metric of that name, or rests_on is not a word of RESTS_ON.
    """
    if rests_on and rests_on not in RESTS_ON[kind]:
        raise CovbenchError(f"{label}: rests_on is {rests_on!r}; choose one of {', '.join(RESTS_ON[kind])}")

    def register(function: Function) -> Function:
        chosen = name or function.__name__
        if chosen in METRICS[kind]:
            raise CovbenchError(f"two {kind} metrics are called {chosen!r}; rename one")
        METRICS[kind][chosen] = Metric(
            chosen, label, definition, function, reason, rests_on=rests_on, unit=unit, **traits
        )
        return function

    return register


def score_metrics(kind: str, fold: Any, positive: bool = False) -> tuple[dict[str, float | None], dict[str, str]]:
    """Compute every metric of a kind on a test fold.

    Args:
        kind: classification or segmentation.
        fold: a ClassifiedFold or SegmentedFold, counted once.
        positive: whether the task has a positive class.

    Returns:
        The values by name, None where undefined, and the reason for each None.
    """
    metrics = _list_metrics(kind, fold, positive)
    values = {metric.name: float(metric.function(fold)) for metric in metrics}
    written = {name: None if math.isnan(value) else value for name, value in values.items()}
    return written, {metric.name: metric.reason(fold) for metric in metrics if written[metric.name] is None}


def draw_metrics(kind: str, fold: Any, positive: bool = False) -> dict[str, np.ndarray]:
    """Compute every metric of a kind that works on bootstrap draws.

    Args:
        kind: classification or segmentation.
        fold: a ClassifiedFold or SegmentedFold in B bootstrap draws.
        positive: whether the task has a positive class.

    Returns:
        float64, (B,), by name; NaN where a draw leaves the metric undefined.
    """
    metrics = [metric for metric in _list_metrics(kind, fold, positive) if metric.drawn]
    return {metric.name: metric.function(fold) for metric in metrics}


def _list_metrics(kind: str, fold: Any, positive: bool) -> list[Metric]:
    """List the metrics of a kind that can be asked of a fold."""
    rounded = getattr(fold, "rounded", None) is not None
    return [
        metric
        for metric in METRICS[kind].values()
        if (positive or not metric.positive_only) and (rounded or not metric.rounded_only)
    ]
