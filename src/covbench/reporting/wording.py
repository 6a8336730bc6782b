"""The names that the report uses, and the sentences that it computes from numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from covbench.evaluation.definitions import label_metric
from covbench.protocols import PUBLISHED_AUDITED_SPLIT
from covbench.schema import CLASSIFICATION, SEGMENTATION

DASH = "–"
PROTOCOL_NAMES = {PUBLISHED_AUDITED_SPLIT: "published recipe, audited folds"}
"""Protocol -> its name in the report, where it differs from the name in config and files."""

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


def escape_markdown(text: object) -> str:
    """Text that Markdown shows as it is."""
    shown = plain(text)
    for character in "\\`*_[]<>|#":
        shown = shown.replace(character, f"\\{character}")
    return shown


def slug(*words: object) -> str:
    """A file name of letters, digits and underscores."""
    return re.sub(r"[^A-Za-z0-9]+", "_", "-".join(map(str, words))).strip("_") or "unnamed"


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def show(value: object, digits: int = 3) -> str:
    """A number with fixed digits; a dash if it is undefined."""
    return f"{value:.{digits}f}" if is_number(value) else DASH


def show_average(value: float) -> str:
    """A number of things that may be an average: `12`, `0.3`."""
    return f"{value:,.1f}".removesuffix(".0")


def show_interval(low: object, high: object) -> str:
    """`0.812–0.903`; empty if there is no interval."""
    return f"{show(low)}{DASH}{show(high)}" if is_number(low) and is_number(high) else ""


def show_signed(value: object, low: object = None, high: object = None) -> str:
    """A difference with its sign, and its interval if there is one.

    Args:
        value: The difference.
        low: Lower end of its interval.
        high: Upper end of its interval.

    Returns:
        `−0.100 (−0.150 to −0.050)` with true minus signs; a dash if the value is undefined.
    """
    if not is_number(value):
        return DASH
    interval = f" ({low:+.3f} to {high:+.3f})" if is_number(low) and is_number(high) else ""
    return f"{value:+.3f}{interval}".replace("-", "−")


def name_protocol(protocol: object) -> str:
    """A protocol's name in the report."""
    return PROTOCOL_NAMES.get(str(protocol), str(protocol))


def name_metric(metric: str) -> str:
    """A metric's heading as it is written within a sentence: `balanced accuracy`, `AUROC`."""
    label = label_metric(metric)
    return label if label[1:2].isupper() else label[:1].lower() + label[1:]


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


def describe_subjects(patients: float | None, groups: float | None) -> str:
    """`12 patients in 11 groups`, or `11 groups (patients not published)` where patients is empty."""
    shown = count(int(groups or 0), "group")
    if patients is None or pd.isna(patients):
        return f"{shown} (patients not published)"
    return f"{count(int(patients), 'patient')} in {shown}"


def describe_size(images: float, patients: float | None, groups: float | None, noun: str = "image") -> str:
    """The size of a fold: `40 images of 12 patients in 11 groups` or `40 images in 11 groups (patients not published)`.

    Args:
        images: How many.
        patients: How many; empty where the dataset publishes none.
        groups: Patients with all near-duplicates.
        noun: What an image is called.

    Returns:
        The words.
    """
    joint = "in" if patients is None or pd.isna(patients) else "of"
    return f"{count(int(images), noun)} {joint} {describe_subjects(patients, groups)}"


def join_words(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else " and ".join([", ".join(words[:-1]), words[-1]]) if words else ""


def read_model(summary: pd.DataFrame, metric: str) -> str:
    """A sentence with a model's score. summary: its rows of one protocol, columns as results/compare/summary.csv."""
    rows = summary[summary["metric"] == metric].dropna(subset="mean")
    if rows.empty:
        return ""
    row = rows.iloc[0]
    interval = show_interval(row["low"], row["high"])
    words = f"{label_metric(metric)} {show(row['mean'])}"
    words += f" (95 % interval {interval}, which covers {row['covers']})" if interval else ""
    seeds = f" Each seed: {row['values'].replace(' ', ', ')}." if row["seeds"] > 1 else ""
    reason = f" {row['reason'][:1].upper()}{row['reason'][1:]}." if row["reason"] else ""
    return f"{words}.{seeds}{reason}"


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
