"""The names that the report uses, and the sentences that it computes from numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from covbench.evaluation.definitions import label_metric
from covbench.schema import CLASSIFICATION, SEGMENTATION

DASH = "–"

BAR_METRICS = {
    CLASSIFICATION: ("accuracy", "precision_macro", "recall_macro", "f1_macro"),
    SEGMENTATION: ("jaccard_lesion", "dice_lesion"),
    "": (),
}
CLASS_TABLE_METRICS = {
    CLASSIFICATION: ("precision", "recall", "specificity", "f1", "auroc", "average_precision"),
    SEGMENTATION: (
        "dice",
        "jaccard",
        "precision",
        "recall",
        "dice_volume",
        "jaccard_volume",
        "precision_volume",
        "recall_volume",
        "dice_total",
    ),
    "": (),
}


def plain(text: object) -> str:
    """Text without control characters, which SVG and terminals cannot hold."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff￾￿]", "�", str(text))


def slug(*words: object) -> str:
    """A file name of letters, digits and underscores."""
    return re.sub(r"[^A-Za-z0-9]+", "_", "-".join(map(str, words))).strip("_") or "unnamed"


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def show(value: object, digits: int = 3) -> str:
    """A number with fixed digits; a dash if it is undefined."""
    return f"{value:.{digits}f}" if is_number(value) else DASH


def show_interval(low: object, high: object) -> str:
    """`0.812–0.903`; empty if there is no interval."""
    return f"{show(low)}{DASH}{show(high)}" if is_number(low) and is_number(high) else ""


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 image`, `2 images`.

    Args:
        number: How many.
        noun: The noun in the singular.
        plural: Its plural; by default the noun with an s.

    Returns:
        The number, with thousands separated by commas, and the noun.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def describe_subjects(patients: object, groups: object) -> str:
    """`12 patients in 11 groups`, or `11 groups (patients not published)` where patients is no number."""
    known = f"{count(int(patients), 'patient')} in " if is_number(patients) else ""  # type: ignore[call-overload]
    return f"{known}{count(int(groups), 'group')}{'' if known else ' (patients not published)'}"  # type: ignore[call-overload]


def join_words(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else " and ".join([", ".join(words[:-1]), words[-1]]) if words else ""


def read_leaders(summary: pd.DataFrame, metric: str) -> str:
    """A sentence on the best network under each protocol and its distance from the best baseline.

    summary: rows of one task, columns as results/compare/summary.csv.
    """
    sentences = []
    for protocol, rows in summary[summary["metric"] == metric].dropna(subset="mean").groupby("protocol", sort=True):
        deep, simple = (rows[rows["family"] == family].nlargest(1, "mean") for family in ("deep", "baseline"))
        if deep.empty:
            continue
        best = deep.iloc[0]
        first = rows.loc[(rows["family"] == "deep") & (rows["mean"] == best["mean"]), "architecture"]
        interval = show_interval(best["low"], best["high"])
        behind = not simple.empty and simple.iloc[0]["mean"] > best["mean"]
        words = f"{protocol}: {_name_some(list(first), behind)} with {label_metric(metric)} {show(best['mean'])}"
        words += f" ({interval})" if interval else ""
        if not simple.empty:
            words += _compare_baseline(best, simple.iloc[0])
        sentences.append(words)
    return "; ".join(sentences) + "." if sentences else ""


def read_model(summary: pd.DataFrame, metric: str) -> str:
    """A sentence with a model's score. summary: its rows of one protocol, columns as results/compare/summary.csv."""
    rows = summary[summary["metric"] == metric].dropna(subset="mean")
    if rows.empty:
        return ""
    row = rows.iloc[0]
    interval = show_interval(row["low"], row["high"])
    return f"{label_metric(metric)} {show(row['mean'])}" + (f" (95 % interval {interval})" if interval else "") + "."


def _name_some(names: Sequence[str], behind: bool) -> str:
    shown = list(names) if len(names) <= 3 else [*names[:2], f"{len(names) - 2} others"]
    if behind:
        best = "the best one is" if len(names) == 1 else "the best ones are"
        return f"no network leads; {best} {join_words(shown)}"
    return f"{names[0]} leads" if len(names) == 1 else f"{join_words(shown)} share the lead"


def _compare_baseline(best: pd.Series, baseline: pd.Series) -> str:
    gap = best["mean"] - baseline["mean"]
    overlap = is_number(best["low"]) and is_number(baseline["high"]) and best["low"] <= baseline["high"]
    words = f", {show(abs(gap))} {'above' if gap >= 0 else 'below'} the best baseline, {baseline['architecture']}"
    return words + (" (the intervals overlap)" if overlap else "")


def read_confusions(total: np.ndarray, classes: Sequence[str]) -> str:
    """A sentence on the most frequent error, in percent of its true class.

    total: counts, (C, C), rows truth, columns predicted, summed over models.
    """
    with np.errstate(invalid="ignore"):
        shares = np.nan_to_num(total / total.sum(axis=1, keepdims=True))
    np.fill_diagonal(shares, 0.0)
    if not shares.any():
        return "No model confuses any two classes."
    row, column = np.unravel_index(shares.argmax(), shares.shape)
    words = f"{shares[row, column]:.0%} of {classes[int(row)]} predicted as {classes[int(column)]}."
    return f"Most frequent error over all models: {words}"


def read_curves(histories: dict[str, list[pd.DataFrame]]) -> str:
    """A sentence on the models whose validation loss rises again after its minimum."""
    rising = [
        name
        for name, runs in histories.items()
        if any(
            len(run) > 2 and run["val_loss"].notna().any() and run["val_loss"].iloc[-1] > 1.1 * run["val_loss"].min()
            for run in runs
        )
    ]
    if not rising:
        whose = "No model's validation loss ends" if len(histories) > 1 else "In no seed does the validation loss end"
        return f"{whose} more than 10 % above its minimum."
    return f"The validation loss of {join_words(rising)} ends more than 10 % above its minimum, a sign of overfitting."
