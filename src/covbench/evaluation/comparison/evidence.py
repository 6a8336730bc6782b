"""Count the groups of images that each score rests on: a sensitivity rests on patients with the disease alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from covbench.evaluation.definitions import METRICS
from covbench.evaluation.metrics.columns import SHAPE_COLUMNS
from covbench.evaluation.metrics.registry import EVERY_CLASS, EVERY_LESION_CLASS, LESION, LESION_FREE, RANKED
from covbench.schema import CLASSIFICATION, SEGMENTATION

_CLASS_RATES = ("precision", "recall", "specificity")

Evidence = dict[tuple[str, str], int]


def is_rate(kind: str, metric: str, of_class: bool = False) -> bool:
    """Say whether a metric is a share of images.

    Args:
        kind: classification or segmentation.
        metric: its name.
        of_class: whether it is a score of one class.

    Returns:
        Whether it is one, so that 0 and 1 have an exact interval.
    """
    if of_class:
        return kind == CLASSIFICATION and metric in _CLASS_RATES
    return METRICS[kind][metric].rate


def is_share(kind: str, metric: str, of_class: bool = False) -> bool:
    """Say whether a metric is a share: of images, pixels or outlines, without a unit.

    Args:
        kind: of the task.
        metric: its name.
        of_class: whether the score is that of one class.

    Returns:
        Whether it is one.
    """
    return of_class or not METRICS[kind][metric].unit


def count_evidence(metrics: Mapping[str, Any], cases: pd.DataFrame) -> Evidence:
    """Count the groups behind every score, by (class, metric). The class is "" for scores of the whole task.

    An average over K classes rests on K times the groups of its smallest class, at most on all: with classes of one
    size it rests on all groups, and with a rare class its error is almost that class's own.

    Args:
        metrics: the content of metrics.json, read for its kind, classes and names of metrics.
        cases: the content of cases.parquet, of one or more seeds.
    """
    names = [("", name) for name in metrics["metrics"]]
    names += [(c, name) for c, scores in metrics["per_class"].items() for name in scores]
    groups = pd.factorize(cases["group"])[0]
    count = (_count_classified if metrics["kind"] == CLASSIFICATION else _count_segmented)(metrics, cases, groups)
    everyone = _count_groups(groups)
    return {key: min(everyone, everyone if (found := count(*key)) is None else found) for key in names}


def _count_classified(
    metrics: Mapping[str, Any], cases: pd.DataFrame, groups: np.ndarray
) -> Callable[[str, str], int | None]:
    classes, positive = metrics["classes"], metrics["positive"]
    truth, predicted = cases["truth"].to_numpy(), cases["predicted"].to_numpy()

    @cache
    def behind(number: int, rate: str) -> int:
        held, free = (_count_groups(groups[side]) for side in (truth == number, truth != number))
        if rate == "precision":
            return _count_groups(groups[predicted == number])
        return {"specificity": free, "auroc": 2 * min(held, free), "average_precision": 2 * min(held, free)}.get(
            rate, held
        )

    def count(name: str, metric: str) -> int | None:
        if name:
            return behind(classes.index(name), metric)
        registered = METRICS[CLASSIFICATION].get(metric)
        if registered is None or not registered.rests_on:
            return None
        rate, ranked = registered.rests_on, registered.rests_on in RANKED
        if positive and (registered.positive_only or ranked):
            return behind(classes.index(positive), rate)
        smallest = min(behind(number, rate) for number in range(len(classes)))
        return smallest if ranked else len(classes) * smallest

    return count


def _count_segmented(
    metrics: Mapping[str, Any], cases: pd.DataFrame, groups: np.ndarray
) -> Callable[[str, str], int | None]:
    true = {region: cases[f"true_{region}"].to_numpy() for region in {*metrics["classes"], LESION}}
    behind = {region: _count_groups(groups[pixels > 0]) for region, pixels in true.items()}
    behind[LESION_FREE] = _count_groups(groups[true[LESION] == 0])
    behind[EVERY_CLASS], behind[EVERY_LESION_CLASS] = (
        min(behind[name] for name in metrics["classes"][first:]) for first in (0, 1)
    )
    measured = [column for column in SHAPE_COLUMNS if column in cases]
    behind |= {column: _count_groups(groups[cases[column].notna()]) for column in measured}

    def count(name: str, metric: str) -> int | None:
        registered = METRICS[SEGMENTATION].get(metric)
        rests_on = name or (registered.rests_on if registered else "")
        return behind[rests_on] if rests_on else None

    return count


def read_answers(cases: pd.DataFrame, metric: str) -> np.ndarray:
    """Read what decides a compared metric of each image: float64, (N, K); NaN where the image does not count."""
    if metric == "auroc":
        return cases[[name for name in cases if str(name).startswith("p_")]].to_numpy(np.float64)
    if metric == "dice_lesion":
        return cases[["dice_lesion"]].to_numpy(np.float64)
    if metric == "false_positive_rate":
        called = np.where(cases["true_lesion"] == 0, cases["predicted_lesion"] > 0, np.nan)
        return called[:, None].astype(np.float64)
    return cases[["predicted"]].to_numpy(np.float64)


def count_differing(groups: np.ndarray, one: np.ndarray, other: np.ndarray) -> int:
    """Count the groups with an image on which two models differ.

    Args:
        groups: int64, (N,), the group of each image, from 0 on.
        one: the answers of the first model, as read_answers returns them.
        other: those of the second model on the same images.

    Returns:
        The number of groups.
    """
    return _count_groups(groups[((one != other) & ~(np.isnan(one) & np.isnan(other))).any(axis=1)])


def _count_groups(groups: np.ndarray) -> int:
    """Count the distinct numbers of an int64 array of groups, (N,), from 0 on. It is faster than sorting them."""
    return int(np.count_nonzero(np.bincount(groups)))
