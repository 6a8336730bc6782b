"""The metrics of a classification. An average over classes is undefined if one of its classes is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from covbench.evaluation.metrics.registry import Reason, register_metric
from covbench.evaluation.ratios import divide
from covbench.schema import CLASSIFICATION, LABELS_ONLY


@dataclass(frozen=True)
class ClassifiedFold:
    """A test fold as a metric sees it, counted once or in B bootstrap draws at once. A shape (…) is () or (B,).

    cases: a row per test image, (N,): truth, predicted, confidence, p_0 … p_{C-1}, image_id, patient_id, source.
    classes: their names. positive: number of the positive class; None for several classes.
    confusion: counts of images, (…, C, C), rows truth, columns predicted.
    rates: float64, (…, C), of each class against the rest: precision, recall, specificity, f1, support, auroc,
        average_precision; NaN where undefined.
    mean: from a value of each image, float64, (N,), NaN where undefined, to the mean of those defined, (…).
    rounded: as rates, without auroc and average_precision, of the answers by rounded logits; None without logits.
    """

    cases: pd.DataFrame
    classes: tuple[str, ...]
    positive: int | None
    confusion: np.ndarray
    rates: Mapping[str, np.ndarray]
    mean: Callable[[np.ndarray], Any]
    rounded: Mapping[str, np.ndarray] | None = None


ONE_CLASS = "only one class in the test fold"


def _missing(rate: str) -> Reason:
    def explain(fold: ClassifiedFold) -> str:
        missing = [name for name, value in zip(fold.classes, fold.rates[rate], strict=True) if np.isnan(value)]
        return f"{rate} is undefined for {', '.join(missing)}"

    return explain


def _missing_auroc(fold: ClassifiedFold) -> str:
    alone = (fold.rates["support"] > 0).sum() == 1
    return ONE_CLASS if alone else _missing("auroc")(fold)


metric = partial(register_metric, CLASSIFICATION)


@metric(
    "Accuracy", "Share of test images whose most probable class is the true one.", reason=_missing("recall"), rate=True
)
def accuracy(fold: ClassifiedFold) -> np.ndarray:
    """Hits among all images."""
    return divide(np.trace(fold.confusion, axis1=-2, axis2=-1), fold.confusion.sum((-2, -1)))


@metric(
    "Balanced accuracy",
    "Mean of the recalls of all classes: guessing scores 1 / number of classes.",
    reason=_missing("recall"),
    rests_on="recall",
)
def balanced_accuracy(fold: ClassifiedFold) -> np.ndarray:
    """Plain mean of the recalls."""
    return _average(fold, "recall")


_AVERAGED = {
    "precision": ("Precision", "Per class TP / (TP + FP), then the plain mean over classes."),
    "recall": ("Recall", "Per class TP / (TP + FN), then the plain mean over classes."),
    "f1": ("F1", "Per class 2·TP / (2·TP + FP + FN), then the plain mean over classes."),
}


def _average(fold: ClassifiedFold, rate: str) -> np.ndarray:
    mean: np.ndarray = fold.rates[rate].mean(-1)
    return mean


def _weigh(fold: ClassifiedFold, rate: str) -> np.ndarray:
    """Average over classes, weighted by their support. Classes without an image do not count."""
    support = fold.rates["support"]
    weighed = np.where(support > 0, support * fold.rates[rate], 0.0)
    return divide(weighed.sum(-1), support.sum(-1))


for _rate, (_label, _definition) in _AVERAGED.items():
    metric(_label, _definition, f"{_rate}_macro", _missing(_rate), _rate)(partial(_average, rate=_rate))
    _weighted = f"As {_label if _rate == 'f1' else _rate}, classes weighted by their number of images."
    metric(f"{_label} (weighted)", _weighted, f"{_rate}_weighted", _missing(_rate), in_report=False)(
        partial(_weigh, rate=_rate)
    )


def _positive(fold: ClassifiedFold, rate: str) -> np.ndarray:
    return fold.rates[rate][..., fold.positive]


for _name, _rate, _label, _definition, _shown in (
    ("sensitivity", "recall", "Sensitivity", "Two-class tasks: recall of the positive class.", True),
    ("specificity", "specificity", "Specificity", "Two-class tasks: TN / (TN + FP) of the positive class.", True),
    ("precision", "precision", "Precision (positive)", "Two-class tasks: precision of the positive class.", False),
    ("f1", "f1", "F1 (positive)", "Two-class tasks: F1 of the positive class.", False),
):
    _register = partial(metric, positive_only=True, in_report=_shown, rate=_rate != "f1")
    _register(_label, _definition, _name, _missing(_rate), _rate)(partial(_positive, rate=_rate))


def _rank(fold: ClassifiedFold, rate: str) -> np.ndarray:
    """Return the rate of the positive class, or the mean over all classes if the task has several."""
    return _average(fold, rate) if fold.positive is None else _positive(fold, rate)


@metric(
    "AUROC",
    "Area under the ROC curve: of the positive class for two classes, else the mean of one class against the rest.",
    reason=_missing_auroc,
    rests_on="auroc",
)
def auroc(fold: ClassifiedFold) -> np.ndarray:
    """Area under the ROC curve."""
    return _rank(fold, "auroc")


@metric(
    "Average precision",
    "Area under the precision-recall curve as a step function; classes as for AUROC.",
    reason=_missing("average_precision"),
    rests_on="average_precision",
)
def average_precision(fold: ClassifiedFold) -> np.ndarray:
    """Area under the precision-recall curve."""
    return _rank(fold, "average_precision")


NO_PROBABILITIES = "the answers name a class and give no probabilities"
LEAST = 2.0**-24
"""The least probability that log loss counts: float32 rounds 1 minus anything smaller to 1."""


def _without_probabilities(_: ClassifiedFold) -> str:
    return NO_PROBABILITIES


def _read_probabilities(fold: ClassifiedFold) -> np.ndarray:
    """Read the probabilities of each image: float64, (N, C), NaN where the answers only name a class."""
    names = [f"p_{number}" for number in range(len(fold.classes))]
    found: np.ndarray = fold.cases[names].to_numpy(np.float64)
    return np.full(found.shape, np.nan) if LABELS_ONLY in fold.cases else found


@metric(
    "Brier score",
    "Squared difference between the probabilities and the truth, summed over classes, mean over images: 0 is perfect, "
    "and 2 is certain and wrong.",
    reason=_without_probabilities,
    lower_is_better=True,
)
def brier(fold: ClassifiedFold) -> np.ndarray:
    """Brier (1950), Monthly Weather Review 78:1, with the sum over all classes."""
    return fold.mean(square_errors(_read_probabilities(fold), fold.cases["truth"].to_numpy()))


@metric(
    "Log loss",
    "Negative natural logarithm of the probability of the true class, mean over images.",
    reason=_without_probabilities,
    lower_is_better=True,
    in_report=False,
)
def log_loss(fold: ClassifiedFold) -> np.ndarray:
    """Log loss of the true class, whose probability counts as LEAST at least."""
    return fold.mean(log_losses(_read_probabilities(fold), fold.cases["truth"].to_numpy()))


def square_errors(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute the Brier score of each image. probabilities: (N, C). truth: int64, (N,). Returns float64, (N,)."""
    errors: np.ndarray = ((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1)
    return errors


def log_losses(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Compute the log loss of each image. probabilities: (N, C). truth: int64, (N,). Returns float64, (N,)."""
    losses: np.ndarray = -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], LEAST))
    return losses


_AS_STUDY = (
    "The study's way of scoring: the class of the largest rounded logit, of equal ones the first in the alphabet. "
)


def _round(fold: ClassifiedFold) -> ClassifiedFold:
    """Let the answers by rounded logits take the place of the others."""
    assert fold.rounded is not None
    return replace(fold, rates=fold.rounded)


def _average_rounded(fold: ClassifiedFold, rate: str) -> np.ndarray:
    return _average(_round(fold), rate)


def _missing_rounded(fold: ClassifiedFold, rate: str) -> str:
    return _missing(rate)(_round(fold))


_rounded_metric = partial(metric, rounded_only=True, in_report=False)


@_rounded_metric("Accuracy (rounded)", f"{_AS_STUDY}Share of test images for which it is the true class.")
def accuracy_rounded(fold: ClassifiedFold) -> np.ndarray:
    """Hits among all images, which is the mean of the recalls, weighted by support."""
    return _weigh(_round(fold), "recall")


for _rate, (_label, _definition) in _AVERAGED.items():
    _rounded_metric(
        f"{_label} (rounded)",
        _AS_STUDY + _definition,
        f"{_rate}_macro_rounded",
        partial(_missing_rounded, rate=_rate),
        _rate,
    )(partial(_average_rounded, rate=_rate))
