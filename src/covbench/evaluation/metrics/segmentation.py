"""The metrics of a segmentation. The lesion is the union of the task's lesion classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from covbench.evaluation.metrics.registry import (
    EVERY_CLASS,
    EVERY_LESION_CLASS,
    LESION,
    LESION_FREE,
    Reason,
    register_metric,
)
from covbench.schema import SEGMENTATION

SCORES = ("dice", "jaccard", "precision", "recall")
POOLINGS = ("", "_volume", "_total")
NATIVE = "lesion_native"
"""The lesion on the stored grids of the masks, in the cases and in SegmentedFold.regions."""
UNTRUE = "no pixel of it in the test fold"
UNSEEN = {
    "dice": "no pixel of it, true or predicted, in the test fold",
    "jaccard": "no pixel of it, true or predicted, in the test fold",
    "precision": "never predicted",
    "recall": UNTRUE,
}
"""Why a score of a region is undefined when all pixels are pooled."""


@dataclass(frozen=True)
class SegmentedFold:
    """A test fold as a metric sees it, counted once or in B bootstrap draws at once. A shape (…) is () or (B,).

    cases: a row per test image, (N,): pixels both_{region}, true_{region}, predicted_{region}, the image's
        dice_{region}, jaccard_{region} and pixel_accuracy, NaN where undefined, image_id, patient_id, source.
    classes: their names, background first. A region is a class or the lesion.
    regions: by region and score, (…): `dice` … mean over images, `dice_volume` … over patients, `dice_total` … of all
        pixels pooled; likewise jaccard, precision and recall.
    mean: from a value of each image, float64, (N,), NaN where undefined, to the mean of those defined, (…).
    """

    cases: pd.DataFrame
    classes: tuple[str, ...]
    regions: Mapping[str, Mapping[str, Any]]
    mean: Callable[[np.ndarray], Any]


metric = partial(register_metric, SEGMENTATION)


def explain_undefined(score: str, pooling: str) -> str:
    """Explain why a score of a region is undefined. pooling: one of POOLINGS."""
    return UNSEEN[score] if pooling == "_total" else UNTRUE


_LESION_SCORES = {
    "dice": (
        "Lesion Dice (F1)",
        "2·TP / (2·TP + FP + FN) over the pixels of all lesion classes together, per slice, then the mean over the "
        "slices whose truth holds a lesion, the same ones for every model. Other slices have metrics of their own.",
    ),
    "jaccard": ("Lesion Jaccard", "TP / (TP + FP + FN), otherwise as lesion Dice."),
    "precision": ("Lesion precision", "TP / (TP + FP), otherwise as lesion Dice; 0 where nothing is predicted."),
    "recall": ("Lesion recall", "TP / (TP + FN), otherwise as lesion Dice."),
    "dice_volume": (
        "Lesion Dice per volume",
        "Pixels pooled over all test slices of a patient, then the mean over the patients who have a lesion there.",
    ),
    "jaccard_volume": ("Lesion Jaccard per volume", "As lesion Dice per volume, with Jaccard."),
    "precision_volume": ("Lesion precision per volume", "Pixels pooled per patient, patients as for Dice per volume."),
    "recall_volume": ("Lesion recall per volume", "Pixels pooled per patient, patients as for Dice per volume."),
    "dice_total": (
        "Lesion Dice in total",
        "2·TP / (2·TP + FP + FN) over every pixel of the test fold, all lesion classes together: large lesions "
        "dominate, and slices without a lesion count by their false positives alone.",
    ),
    "jaccard_total": ("Lesion Jaccard in total", "TP / (TP + FP + FN), otherwise as lesion Dice in total."),
    "precision_total": ("Lesion precision in total", "Every pixel of the test fold pooled."),
    "recall_total": ("Lesion recall in total", "Every pixel of the test fold pooled."),
}
_SHOWN = ("dice", "jaccard", "precision", "recall", "dice_volume", "jaccard_volume", "dice_total")


def _lesion(fold: SegmentedFold, score: str) -> Any:
    return fold.regions[LESION][score]


def _explain(score: str, pooling: str) -> Reason:
    return lambda _: explain_undefined(score, pooling)


for _score, (_label, _definition) in _LESION_SCORES.items():
    _base, _, _pooling = _score.partition("_")
    _name = f"{_base}_{LESION}_{_pooling}" if _pooling else f"{_base}_{LESION}"
    metric(_label, _definition, _name, _explain(_base, f"_{_pooling}"), LESION, in_report=_score in _SHOWN)(
        partial(_lesion, score=_score)
    )


def _lesion_free(fold: SegmentedFold) -> np.ndarray:
    return fold.cases[f"true_{LESION}"].to_numpy() == 0


def _no_lesion_free(_: SegmentedFold) -> str:
    return "every slice of the test fold holds a lesion"


@metric(
    "False-positive rate",
    "Share of the slices without a lesion on which a lesion is predicted, be it one pixel. Smaller is better.",
    reason=_no_lesion_free,
    rests_on=LESION_FREE,
    lower_is_better=True,
    rate=True,
)
def false_positive_rate(fold: SegmentedFold) -> Any:
    """Lesion-free slices with a predicted lesion."""
    predicted = fold.cases[f"predicted_{LESION}"].to_numpy() > 0
    return fold.mean(np.where(_lesion_free(fold), predicted.astype(np.float64), np.nan))


@metric(
    "False-positive volume",
    "Share of the pixels that are predicted as a lesion, mean over the slices without a lesion. Smaller is better.",
    reason=_no_lesion_free,
    rests_on=LESION_FREE,
    lower_is_better=True,
)
def false_positive_volume(fold: SegmentedFold) -> Any:
    """Predicted lesion on lesion-free slices."""
    pixels = fold.cases[[f"true_{name}" for name in fold.classes]].to_numpy(np.float64).sum(axis=1)
    share = fold.cases[f"predicted_{LESION}"].to_numpy() / pixels
    return fold.mean(np.where(_lesion_free(fold), share, np.nan))


def _lesion_native(fold: SegmentedFold, score: str) -> Any:
    return fold.regions[NATIVE][score]


for _score, _label in (("dice", "Lesion Dice"), ("jaccard", "Lesion Jaccard")):
    metric(
        f"{_label} per volume, native",
        f"{_label} per volume, with the predicted mask brought back to the stored grid of each slice (nearest pixel), "
        "where it is compared with the mask that the authors published.",
        f"{_score}_{LESION}_volume_native",
        _explain(_score, "_volume"),
        LESION,
        in_report=_score == "dice",
    )(partial(_lesion_native, score=f"{_score}_volume"))


def _missing_classes(fold: SegmentedFold) -> str:
    return f"undefined for {', '.join(name for name in fold.classes if np.isnan(fold.regions[name]['dice']))}"


def _mean_classes(fold: SegmentedFold, score: str, first: int) -> Any:
    """Average over the classes from number `first` on. The mean is undefined if one of them is."""
    return np.mean([fold.regions[name][score] for name in fold.classes[first:]], axis=0)


@metric(
    "Mean Dice (F1)",
    "Mean over every class but the background of its per-slice Dice, slices as for lesion Dice.",
    reason=_missing_classes,
    rests_on=EVERY_LESION_CLASS,
)
def dice_mean(fold: SegmentedFold) -> Any:
    """Mean over the classes but the background."""
    return _mean_classes(fold, "dice", 1)


@metric(
    "Dice of all classes in total",
    "Every pixel of the test fold pooled per class, then the mean over all classes, background too.",
    reason=_missing_classes,
    rests_on=EVERY_CLASS,
)
def dice_all_total(fold: SegmentedFold) -> Any:
    """Mean over all classes of pooled pixels."""
    return _mean_classes(fold, "dice_total", 0)


@metric(
    "Mean Jaccard",
    "Mean over every class but the background of its per-slice Jaccard, slices as for lesion Dice.",
    reason=_missing_classes,
    rests_on=EVERY_LESION_CLASS,
)
def jaccard_mean(fold: SegmentedFold) -> Any:
    """Mean over the classes but the background."""
    return _mean_classes(fold, "jaccard", 1)


@metric(
    "Jaccard of all classes in total",
    "TP / (TP + FP + FN) over every pixel of the test fold per class, then the mean over all classes, background too.",
    reason=_missing_classes,
    rests_on=EVERY_CLASS,
    in_report=False,
)
def jaccard_all_total(fold: SegmentedFold) -> Any:
    """Mean over all classes of pooled pixels."""
    return _mean_classes(fold, "jaccard_total", 0)


@metric("Pixel accuracy", "Share of pixels with the true class, background included.", reason=_missing_classes)
def pixel_accuracy(fold: SegmentedFold) -> Any:
    """Mean over images."""
    return fold.mean(fold.cases["pixel_accuracy"].to_numpy())
