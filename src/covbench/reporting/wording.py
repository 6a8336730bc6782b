"""What the report calls things, and the sentences that it computes from the numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from covbench.schema import CLASSIFICATION, SEGMENTATION

DASH = "–"


@dataclass(frozen=True)
class Metric:
    """A metric's heading and what exactly it counts."""

    label: str
    definition: str


CLASSIFICATION_METRICS = {
    "accuracy": Metric("Accuracy", "Share of test images whose most probable class is the true one."),
    "balanced_accuracy": Metric(
        "Balanced accuracy", "Mean of the recalls of all classes: guessing scores 1 / number of classes."
    ),
    "precision_macro": Metric("Precision", "Per class TP / (TP + FP), then the plain mean over classes."),
    "recall_macro": Metric("Recall", "Per class TP / (TP + FN), then the plain mean over classes."),
    "f1_macro": Metric("F1", "Per class 2·TP / (2·TP + FP + FN), then the plain mean over classes."),
    "sensitivity": Metric("Sensitivity", "Two-class tasks: recall of the positive class."),
    "specificity": Metric("Specificity", "Two-class tasks: TN / (TN + FP) of the positive class."),
    "auroc": Metric(
        "AUROC",
        "Area under the ROC curve: of the positive class for two classes, else the mean of one class against the rest.",
    ),
    "average_precision": Metric(
        "Average precision", "Area under the precision-recall curve as a step function; classes as for AUROC."
    ),
    "precision_weighted": Metric("Precision (weighted)", "As precision, classes weighted by their number of images."),
    "recall_weighted": Metric("Recall (weighted)", "As recall, classes weighted by their number of images."),
    "f1_weighted": Metric("F1 (weighted)", "As F1, classes weighted by their number of images."),
    "precision": Metric("Precision (positive)", "Two-class tasks: precision of the positive class."),
    "f1": Metric("F1 (positive)", "Two-class tasks: F1 of the positive class."),
}
SEGMENTATION_METRICS = {
    "dice_lesion": Metric(
        "Lesion Dice (F1)",
        "2·TP / (2·TP + FP + FN) over the pixels of all lesion classes together, per slice, then the mean over slices. "
        "A slice where neither the truth nor the prediction holds a lesion is undefined and left out.",
    ),
    "jaccard_lesion": Metric("Lesion Jaccard", "TP / (TP + FP + FN), otherwise as lesion Dice."),
    "precision_lesion": Metric("Lesion precision", "TP / (TP + FP) per slice; undefined where nothing is predicted."),
    "recall_lesion": Metric("Lesion recall", "TP / (TP + FN) per slice; undefined where the truth holds no lesion."),
    "dice_lesion_volume": Metric(
        "Lesion Dice per volume", "Pixels pooled over all test slices of a patient, then the mean over patients."
    ),
    "jaccard_lesion_volume": Metric("Lesion Jaccard per volume", "As lesion Dice per volume, with Jaccard."),
    "precision_lesion_volume": Metric("Lesion precision per volume", "Pixels pooled per patient, mean over patients."),
    "recall_lesion_volume": Metric("Lesion recall per volume", "Pixels pooled per patient, mean over patients."),
    "dice_lesion_total": Metric("Lesion Dice in total", "Every pixel of the test fold pooled: large lesions dominate."),
    "jaccard_lesion_total": Metric("Lesion Jaccard in total", "Every pixel of the test fold pooled."),
    "precision_lesion_total": Metric("Lesion precision in total", "Every pixel of the test fold pooled."),
    "recall_lesion_total": Metric("Lesion recall in total", "Every pixel of the test fold pooled."),
    "dice_mean": Metric("Mean Dice (F1)", "Mean of the per-slice Dice of every class but the background."),
    "jaccard_mean": Metric("Mean Jaccard", "Mean of the per-slice Jaccard of every class but the background."),
    "dice_all_total": Metric(
        "Dice of all classes in total",
        "Every pixel of the test fold pooled per class, then the mean over all classes, background too: the nearest to "
        "the study's F1, whose library pools the pixels of a batch.",
    ),
    "jaccard_all_total": Metric("Jaccard of all classes in total", "As Dice of all classes in total, with Jaccard."),
    "pixel_accuracy": Metric("Pixel accuracy", "Share of pixels with the true class, background included."),
}
CLASS_METRICS = {
    "precision": Metric("Precision", "TP / (TP + FP) of this class against the rest."),
    "recall": Metric("Recall", "TP / (TP + FN) of this class against the rest."),
    "specificity": Metric("Specificity", "TN / (TN + FP) of this class against the rest."),
    "f1": Metric("F1", "2·TP / (2·TP + FP + FN) of this class against the rest."),
    "auroc": Metric("AUROC", "This class against the rest."),
    "average_precision": Metric("Average precision", "This class against the rest."),
    "support": Metric("Images", "Test images of this class."),
    "dice": Metric("Dice (F1)", "Per slice, then the mean over slices where the class is in truth or prediction."),
    "jaccard": Metric("Jaccard", "Per slice, then the mean over slices where the class is in truth or prediction."),
    "dice_volume": Metric("Dice / volume", "Pixels pooled per patient, then the mean over patients."),
    "jaccard_volume": Metric("Jaccard / volume", "Pixels pooled per patient, then the mean over patients."),
    "precision_volume": Metric("Precision / volume", "Pixels pooled per patient, then the mean over patients."),
    "recall_volume": Metric("Recall / volume", "Pixels pooled per patient, then the mean over patients."),
    "dice_total": Metric("Dice in total", "Every pixel of the test fold pooled."),
    "images_with_class": Metric("Slices", "Test slices whose truth holds this class."),
}
METRICS = {CLASSIFICATION: CLASSIFICATION_METRICS, SEGMENTATION: SEGMENTATION_METRICS, "": {}}
TABLE_METRICS = {
    CLASSIFICATION: tuple(CLASSIFICATION_METRICS)[:9],
    SEGMENTATION: (
        "dice_lesion",
        "jaccard_lesion",
        "precision_lesion",
        "recall_lesion",
        "dice_lesion_volume",
        "jaccard_lesion_volume",
        "dice_lesion_total",
        "dice_mean",
        "jaccard_mean",
        "dice_all_total",
        "pixel_accuracy",
    ),
    "": (),
}
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


def label_metric(metric: str) -> str:
    """The heading of a metric; unknown ones keep their name."""
    for table in (CLASSIFICATION_METRICS, SEGMENTATION_METRICS, CLASS_METRICS):
        if metric in table:
            return table[metric].label
    return metric


def plain(text: object) -> str:
    """Text without control characters, which SVG and terminals cannot hold."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff￾￿]", "�", str(text))


def slug(*words: object) -> str:
    """A file name made of harmless characters."""
    return re.sub(r"[^A-Za-z0-9]+", "_", "-".join(map(str, words))).strip("_") or "unnamed"


def is_number(value: object) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def show(value: object, digits: int = 3) -> str:
    """A number with fixed digits; a dash where it is undefined."""
    return f"{value:.{digits}f}" if is_number(value) else DASH


def show_interval(low: object, high: object) -> str:
    """`0.812–0.903`, or nothing where there is no interval."""
    return f"{show(low)}{DASH}{show(high)}" if is_number(low) and is_number(high) else ""


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 image`, `2 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def join_words(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else " and ".join([", ".join(words[:-1]), words[-1]]) if words else ""


def read_leaders(summary: pd.DataFrame, metric: str) -> str:
    """One sentence: who leads on a metric under each protocol, and how far above the best baseline.

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
        words = f"{protocol}: {_name_some(list(first))} with {label_metric(metric)} {show(best['mean'])}"
        words += f" ({interval})" if interval else ""
        if not simple.empty:
            words += _compare_baseline(best, simple.iloc[0])
        sentences.append(words)
    return "; ".join(sentences) + "." if sentences else ""


def _name_some(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} leads"
    shown = list(names) if len(names) <= 3 else [*names[:2], f"{len(names) - 2} others"]
    return f"{join_words(shown)} share the lead"


def _compare_baseline(best: pd.Series, baseline: pd.Series) -> str:
    gap = best["mean"] - baseline["mean"]
    overlap = is_number(best["low"]) and is_number(baseline["high"]) and best["low"] <= baseline["high"]
    words = f", {show(abs(gap))} {'above' if gap >= 0 else 'below'} the best baseline, {baseline['architecture']}"
    return words + (" (the intervals overlap)" if overlap else "")


def read_confusions(total: np.ndarray, classes: Sequence[str]) -> str:
    """One sentence: the most frequent mistake, in percent of its true class.

    total: counts, (C, C), rows truth, columns predicted, summed over models.
    """
    with np.errstate(invalid="ignore"):
        shares = np.nan_to_num(total / total.sum(axis=1, keepdims=True))
    np.fill_diagonal(shares, 0.0)
    if not shares.any():
        return "No model confuses any two classes."
    row, column = np.unravel_index(shares.argmax(), shares.shape)
    words = f"{shares[row, column]:.0%} of {classes[int(row)]} called {classes[int(column)]}."
    return f"Most frequent mistake over all models: {words}"


def read_curves(histories: dict[str, list[pd.DataFrame]]) -> str:
    """One sentence: whose validation loss rises again after its best epoch."""
    rising = [
        name
        for name, runs in histories.items()
        if any(
            len(run) > 2 and run["val_loss"].notna().any() and run["val_loss"].iloc[-1] > 1.1 * run["val_loss"].min()
            for run in runs
        )
    ]
    if not rising:
        return "No model's validation loss ends more than 10 % above its best epoch."
    verb = "ends" if len(rising) == 1 else "end"
    return f"Validation loss of {join_words(rising)} {verb} more than 10 % above the best epoch: a sign of overfitting."
