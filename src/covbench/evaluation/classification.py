"""Score stored probabilities of a classification: per image, per class and in total.

AUROC, average precision, confusion matrix and curves come from scikit-learn. What follows from the confusion matrix
alone is computed here for any number of matrices at once, so the reported value and a bootstrap draw share one formula.
covbench.evaluation.metrics.classification has the metrics in total.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from covbench.data.folds import count_subjects
from covbench.evaluation.metrics.classification import ONE_CLASS, ClassifiedFold
from covbench.evaluation.metrics.registry import score_metrics
from covbench.evaluation.predictions import KEPT, refuse_predictions
from covbench.evaluation.ratios import divide, mean_defined, write_down
from covbench.schema import LABELS_ONLY, Task

CURVE_POINTS = 200


def evaluate_classification(
    predictions: pd.DataFrame, task: Task, patients_published: bool = True
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Score the test fold of a run.

    Args:
        predictions: schema.PREDICTION_COLUMNS and p_0 … p_{C-1}, of any folds; logit_0 … where they were stored.
        task: the task.
        patients_published: whether the dataset publishes patients, so that they can be counted.

    Returns:
        The content of metrics.json and the cases, a row per test image. A score is None where it is undefined, and
        "undefined" has the reason.

    Raises:
        CovbenchError: There is no test image, or a probability is not a number.
    """
    test = predictions[predictions["fold"] == "test"].reset_index(drop=True)
    probabilities = read_probabilities(test, task)
    truth = test["truth"].to_numpy()
    predicted = probabilities.argmax(axis=1)
    numbers = range(len(task.classes))
    confusion = confusion_matrix(truth, predicted, labels=numbers)
    cases = test[KEPT].assign(
        truth=truth, predicted=predicted, correct=truth == predicted, confidence=probabilities.max(axis=1)
    )
    cases = pd.concat([cases, test[[f"p_{c}" for c in numbers]]], axis=1)
    labels_only = LABELS_ONLY in test and bool(test[LABELS_ONLY].all())
    if labels_only:
        cases[LABELS_ONLY] = True
    rounded = None
    if "logit_0" in test:
        cases["rounded"] = round_logits(test[[f"logit_{c}" for c in numbers]].to_numpy(np.float32), task.classes)
        rounded = rate_classes(confusion_matrix(truth, cases["rounded"], labels=numbers))
    ranked = rank_nothing(len(task.classes)) if labels_only else rank_classes(truth, probabilities)
    rates = {**rate_classes(confusion), **ranked}
    per_class, undefined = _score_classes(rates, confusion, task.classes, labels_only)
    fold = ClassifiedFold(cases, task.classes, positive_class(task), confusion, rates, mean_defined, rounded)
    metrics, why = score_metrics(task.kind, fold, positive=bool(task.positive))
    return {
        "kind": task.kind,
        "classes": list(task.classes),
        "positive": task.positive,
        "images": len(test),
        **count_subjects(test, patients_published),
        "metrics": metrics,
        "per_class": per_class,
        "undefined": undefined | why,
        "confusion": confusion.tolist(),
        "curves": draw_points(rates, task.classes) if labels_only else draw_curves(truth, probabilities, task.classes),
    }, cases


def read_probabilities(test: pd.DataFrame, task: Task) -> np.ndarray:
    """Read the p_ columns as float64, (N, C). Raises CovbenchError without rows, or if a value is no probability."""
    if test.empty:
        raise refuse_predictions(task, "no image of the test fold")
    probabilities = test[[f"p_{c}" for c in range(len(task.classes))]].to_numpy(np.float64)
    bad = ~(np.isfinite(probabilities) & (probabilities >= 0) & (probabilities <= 1)).all(axis=1)
    if bad.any():
        names = ", ".join(test.loc[bad, "image_id"].head(3))
        raise refuse_predictions(task, f"{bad.sum()} rows hold no probabilities ({names}…)")
    return probabilities


def round_logits(logits: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Choose the class of the largest rounded logit, as the study did.

    It took the first of equal ones, and its classes were folders in the order of the alphabet.

    logits: float32, (N, C). classes: their names. Returns class numbers, int64, (N,).
    """
    order = np.argsort(classes)
    chosen: np.ndarray = order[np.round(logits)[:, order].argmax(axis=1)]
    return chosen


def rate_classes(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Compute precision, recall, specificity and F1 of each class against the rest, and its support.

    confusion: counts, (…, C, C), with the truth in rows and the prediction in columns. Returns float64, (…, C), NaN
    where undefined.
    """
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, called, total = confusion.sum(-1), confusion.sum(-2), confusion.sum((-2, -1))[..., None]
    return {
        "precision": divide(hits, called),
        "recall": divide(hits, true),
        "specificity": divide(total - true - called + hits, total - true),
        "f1": divide(2 * hits, true + called),
        "support": np.asarray(true, np.float64),
    }


def positive_class(task: Task) -> int | None:
    """Return the number of the positive class of a binary task; None for a task with several classes."""
    return task.classes.index(task.positive) if task.positive else None


def rank_classes(truth: np.ndarray, probabilities: np.ndarray) -> dict[str, np.ndarray]:
    """Compute AUROC and average precision of each class against the rest; NaN where the fold leaves them undefined.

    truth: int64, (N,). probabilities: float64, (N, C). Returns float64, (C,).
    """
    count = probabilities.shape[1]
    auroc, precision = np.full(count, np.nan), np.full(count, np.nan)
    for number in range(count):
        is_class = truth == number
        if is_class.any():
            precision[number] = average_precision_score(is_class, probabilities[:, number])
        if is_class.any() and not is_class.all():
            auroc[number] = roc_auc_score(is_class, probabilities[:, number])
    return {"auroc": auroc, "average_precision": precision}


def rank_nothing(classes: int) -> dict[str, np.ndarray]:
    """Return undefined values in the shape of rank_classes, for answers without probabilities."""
    return {"auroc": np.full(classes, np.nan), "average_precision": np.full(classes, np.nan)}


def draw_points(
    rates: Mapping[str, np.ndarray], classes: tuple[str, ...]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Compute the one point of each class on the ROC and precision-recall curves of answers without probabilities.

    Args:
        rates: as rate_classes returns them.
        classes: names of the classes.

    Returns:
        As draw_curves. A class with an undefined point is left out.
    """
    points = {}
    for number, name in enumerate(classes):
        recall, specificity, precision = (rates[rate][number] for rate in ("recall", "specificity", "precision"))
        if not np.isnan([recall, specificity, precision]).any():
            points[name] = {
                "roc": {"fpr": [round(float(1 - specificity), 6)], "tpr": [round(float(recall), 6)]},
                "pr": {"recall": [round(float(recall), 6)], "precision": [round(float(precision), 6)]},
            }
    return points


def draw_curves(
    truth: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Compute the points of the ROC and precision-recall curves of each class, at most CURVE_POINTS per curve.

    Args:
        truth: int64, (N,), class numbers.
        probabilities: float64, (N, C).
        classes: names of the classes.

    Returns:
        By class `roc` (fpr, tpr) and `pr` (recall, precision). A class that the fold lacks, or that is the only one in
        it, is left out.
    """
    curves = {}
    for number, name in enumerate(classes):
        is_class = truth == number
        if is_class.all() or not is_class.any():
            continue
        fpr, tpr, _ = roc_curve(is_class, probabilities[:, number])
        precision, recall, _ = precision_recall_curve(is_class, probabilities[:, number], drop_intermediate=True)
        curves[name] = {
            "roc": {"fpr": _thin(fpr), "tpr": _thin(tpr)},
            "pr": {"recall": _thin(recall), "precision": _thin(precision)},
        }
    return curves


def _thin(points: np.ndarray) -> list[float]:
    kept = np.unique(np.linspace(0, len(points) - 1, CURVE_POINTS).round().astype(int))
    return np.round(points[kept], 6).tolist()


def _score_classes(
    rates: Mapping[str, np.ndarray], confusion: np.ndarray, classes: Sequence[str], labels_only: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """List every rate of each class, None where undefined, and the reason for each None."""
    undefined: dict[str, str] = {}
    per_class: dict[str, Any] = {}
    for number, name in enumerate(classes):
        values = {rate: rates[rate][number] for rate in rates if rate != "support"}
        reasons = _class_reasons(int(confusion[number].sum()), int(confusion.sum()))
        if labels_only:
            reasons |= dict.fromkeys(("auroc", "average_precision"), "it names a class and gives no probabilities")
        per_class[name], why = write_down(values, reasons, f"per_class.{name}.")
        per_class[name]["support"] = int(confusion[number].sum())
        undefined |= why
    return per_class, undefined


def _class_reasons(support: int, total: int) -> dict[str, str]:
    absent = "no image of this class in the test fold"
    return {
        "precision": "never predicted",
        "recall": absent,
        "specificity": "only this class in the test fold",
        "f1": "absent from the test fold and never predicted",
        "auroc": absent if support == 0 else ONE_CLASS,
        "average_precision": absent,
    }
