"""Score stored masks of a segmentation: per image, per volume and in total, for each class and for the lesion.

Everything follows from one count per image: how many pixels of each true class were predicted as each class. The lesion
is the union of the task's lesion classes. Scores per image are averaged over the images where they are defined. Scores
per volume pool the slices of a patient and are averaged over patients. Both count only images or volumes whose truth
holds the region, so that all models share one denominator. Scores in total pool every pixel of the fold.
covbench.evaluation.metrics.segmentation has the metrics of the whole fold. Beside it, study_masks has the study's, and
shapes those of outlines, volumes and single lesions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.folds import count_subjects
from covbench.evaluation.metrics import shapes, study_masks  # noqa: F401  register their metrics
from covbench.evaluation.metrics.columns import SHAPE_COLUMNS
from covbench.evaluation.metrics.registry import score_metrics
from covbench.evaluation.metrics.segmentation import LESION, NATIVE, POOLINGS, SCORES, SegmentedFold, explain_undefined
from covbench.evaluation.predictions import KEPT, refuse_predictions
from covbench.evaluation.ratios import divide, mean_defined, write_down
from covbench.schema import CovbenchError, Task


def evaluate_segmentation(
    predictions: pd.DataFrame,
    truth: np.ndarray,
    predicted: np.ndarray,
    task: Task,
    unsure: np.ndarray | None = None,
    native: pd.DataFrame | None = None,
    patients_published: bool = True,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Score the test fold of a run.

    Args:
        predictions: schema.PREDICTION_COLUMNS, (R,), any folds.
        truth: uint8, (R, H, W), class numbers, in the order of the predictions.
        predicted: uint8, (R, H, W), in the same order.
        task: the task.
        unsure: bool, (R, H, W), where no class has more than half the probability; None means nowhere.
        native: lesions on the stored grids, as native.measure_native measures them, (R,); None means that the masks
            are on their stored grids, and that nothing but pixels is known of these.
        patients_published: whether the dataset publishes patients, so that they can be counted.

    Returns:
        The content of metrics.json (None where undefined, with the reason in "undefined"), and the cases: a row per
        test image with its pixel counts and its scores, NaN where undefined.

    Raises:
        CovbenchError: There is no test image, the masks differ in shape, or a class number is unknown.
    """
    chosen = (predictions["fold"] == "test").to_numpy()
    if not chosen.any():
        raise refuse_predictions(task, "no image of the test fold")
    if truth.shape != predicted.shape or len(truth) != len(predictions):
        sizes = f"{len(predictions)} rows, true masks {truth.shape}, predicted masks {predicted.shape}"
        raise refuse_predictions(task, sizes)
    test = predictions[chosen].reset_index(drop=True)
    confusion = count_pixels(truth[chosen], predicted[chosen], len(task.classes))
    cases = describe_cases(test, confusion, task)
    sure = None if unsure is None else ~unsure[chosen]
    sure_confusion = (
        confusion if sure is None else count_pixels(truth[chosen], predicted[chosen], len(task.classes), sure)
    )
    cases = pd.concat([cases, _count_sure(sure_confusion, task), _count_native(cases, native, chosen)], axis=1)
    regions = {region: score_region(cases, region) for region in [*dict(name_regions(task)), NATIVE]}
    per_class, undefined = _score_classes(cases, regions, task.classes)
    metrics, why = score_metrics(task.kind, SegmentedFold(cases, task.classes, regions, mean_defined))
    return {
        "kind": task.kind,
        "classes": list(task.classes),
        "lesions": list(task.lesions),
        "images": len(test),
        **count_subjects(test, patients_published),
        "metrics": metrics,
        "per_class": per_class,
        "undefined": undefined | why,
        "confusion": confusion.sum(0).tolist(),
    }, cases


def count_pixels(
    truth: np.ndarray, predicted: np.ndarray, classes: int, counted: np.ndarray | None = None
) -> np.ndarray:
    """Count the confusion matrix of each image in pixels, with the truth in rows and the prediction in columns.

    Args:
        truth: uint8, (N, H, W), class numbers.
        predicted: uint8, (N, H, W), class numbers.
        classes: number of classes, C.
        counted: bool, (N, H, W), the pixels to count; None counts all.

    Returns:
        int64, (N, C, C).

    Raises:
        CovbenchError: A class number is `classes` or more.
    """
    counts = np.empty((len(truth), classes, classes), np.int64)
    for number, (true, guess) in enumerate(zip(truth, predicted, strict=True)):
        if max(true.max(), guess.max()) >= classes:
            raise CovbenchError(
                f"a mask holds class number {max(true.max(), guess.max())}, the task has {classes} classes; "
                "prepare and predict again"
            )
        pairs = true.astype(np.intp) * classes + guess
        pairs = pairs if counted is None else pairs[counted[number]]
        counts[number] = np.bincount(pairs.ravel(), minlength=classes**2).reshape(classes, classes)
    return counts


def measure_overlap(confusion: np.ndarray, members: Sequence[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count the pixels of the union of some classes: both true and predicted, true, predicted.

    confusion: counts, (…, C, C). Returns three arrays, (…).
    """
    chosen = list(members)
    true = confusion[..., chosen, :]
    return true[..., chosen].sum((-2, -1)), true.sum((-2, -1)), confusion[..., chosen].sum((-2, -1))


def score_overlap(both: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Compute Dice, Jaccard index, precision and recall from pixel counts, (…).

    Dice and Jaccard are undefined where neither mask holds a pixel. They are 0 where only one mask does.

    Args:
        both: pixels that are true and predicted.
        true: true pixels.
        predicted: predicted pixels.

    Returns:
        float64, (…), by name of the score; NaN where undefined.
    """
    return {
        "dice": divide(2 * both, true + predicted),
        "jaccard": divide(both, true + predicted - both),
        "precision": divide(both, predicted),
        "recall": divide(both, true),
    }


def score_annotated(both: np.ndarray, true: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """Score the images or volumes whose truth holds the region, the same ones for every model. All others are NaN.

    Where such an image has no prediction, its precision is 0, like its Dice.

    Args:
        both: pixels that are true and predicted, (…).
        true: true pixels, (…).
        predicted: predicted pixels, (…).

    Returns:
        float64, (…), by name of the score; NaN where the truth holds no pixel of the region.
    """
    scores = score_overlap(both, true, predicted)
    scores["precision"] = np.where(predicted > 0, scores["precision"], 0.0)
    return {name: np.where(true > 0, values, np.nan) for name, values in scores.items()}


def name_regions(task: Task) -> Iterator[tuple[str, list[int]]]:
    """Yield the regions that are scored, with their class numbers: each class, then the lesion."""
    yield from ((name, [number]) for number, name in enumerate(task.classes))
    if LESION not in task.classes:
        yield LESION, [task.classes.index(name) for name in task.lesions]


def describe_cases(test: pd.DataFrame, confusion: np.ndarray, task: Task) -> pd.DataFrame:
    """Tabulate the scores of each image.

    Args:
        test: schema.PREDICTION_COLUMNS of the test fold, (N,).
        confusion: counts, (N, C, C).
        task: the task.

    Returns:
        A row per image: Dice and Jaccard of each region, pixel accuracy, and the pixel counts behind them.
    """
    columns: dict[str, np.ndarray] = {}
    counts: dict[str, np.ndarray] = {}
    for region, members in name_regions(task):
        both, true, predicted = measure_overlap(confusion, members)
        scores = score_annotated(both, true, predicted)
        columns |= {f"dice_{region}": scores["dice"], f"jaccard_{region}": scores["jaccard"]}
        counts |= {f"both_{region}": both, f"true_{region}": true, f"predicted_{region}": predicted}
    columns["pixel_accuracy"] = divide(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))
    return pd.concat([test[KEPT], pd.DataFrame(columns | counts)], axis=1)


def _count_sure(confusion: np.ndarray, task: Task) -> pd.DataFrame:
    """Tabulate each class's pixels with more than half the probability. confusion: of such pixels, (N, C, C)."""
    columns: dict[str, np.ndarray] = {}
    for number, name in enumerate(task.classes):
        both, _, predicted = measure_overlap(confusion, [number])
        columns |= {f"both_{name}_sure": both, f"predicted_{name}_sure": predicted}
    return pd.DataFrame(columns)


def _count_native(cases: pd.DataFrame, native: pd.DataFrame | None, chosen: np.ndarray) -> pd.DataFrame:
    """Tabulate the lesions on the stored grids; by default these are the grids of the masks, of no known spacing."""
    names = ("both", "true", "predicted")
    if native is None:
        native = pd.DataFrame({name: cases[f"{name}_{LESION}"] for name in names})
    else:
        native = native[chosen].reset_index(drop=True)
    return native.reindex(columns=[*names, *SHAPE_COLUMNS]).rename(columns={name: f"{name}_{NATIVE}" for name in names})


def pool_volumes(cases: pd.DataFrame, region: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pool the pixel counts of a region over each patient: three int64 arrays, (P,), in the order of patient_id."""
    sums = cases.groupby("patient_id")[[f"{count}_{region}" for count in ("both", "true", "predicted")]].sum()
    both, true, predicted = sums.to_numpy().T
    return both, true, predicted


def score_region(cases: pd.DataFrame, region: str) -> dict[str, float]:
    """Score a region: `dice` … over images, `dice_volume` … over patients, `dice_total` … with all pixels pooled."""
    counts = [cases[f"{count}_{region}"].to_numpy() for count in ("both", "true", "predicted")]
    images = score_annotated(*counts)
    volumes = score_annotated(*pool_volumes(cases, region))
    totals = score_overlap(*(count.sum() for count in counts))
    scores: dict[str, float] = {name: mean_defined(images[name]) for name in SCORES}
    scores |= {f"{name}_volume": mean_defined(volumes[name]) for name in SCORES}
    return scores | {f"{name}_total": float(totals[name]) for name in SCORES}


def _score_classes(
    cases: pd.DataFrame, regions: Mapping[str, Mapping[str, float]], classes: Sequence[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """List every score of each class, None where undefined, and the reason for each None."""
    reasons = {f"{name}{pooling}": explain_undefined(name, pooling) for name in SCORES for pooling in POOLINGS}
    per_class: dict[str, Any] = {}
    undefined: dict[str, str] = {}
    for name in classes:
        per_class[name], why = write_down(regions[name], reasons, f"per_class.{name}.")
        per_class[name]["images_with_class"] = int((cases[f"true_{name}"] > 0).sum())
        undefined |= why
    return per_class, undefined
