"""The study's scores of masks, as segmentation_models 1.0.1 computes them: threshold 0.5, smoothed, background too.

A pixel counts to a class only where the model gives that class more than half the probability. The columns
both_{class}_sure and predicted_{class}_sure of the cases count such pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from covbench.evaluation.metrics.registry import EVERY_CLASS, register_metric
from covbench.evaluation.metrics.segmentation import SegmentedFold
from covbench.evaluation.ratios import divide
from covbench.schema import BACKGROUND, SEGMENTATION

SMOOTH = 1e-5
BATCH = 16  # test images whose pixels the study pools in its multi-class tasks

Score = Callable[..., Any]
"""From pixels in both masks, true plus predicted pixels, and a smoothing term to a score."""

metric = partial(register_metric, SEGMENTATION)


def smooth_dice(both: Any, sizes: Any, smooth: float = SMOOTH) -> Any:
    """Compute the library's F-score. It is 1 where neither mask holds a pixel, unlike Dice, which is undefined there.

    Args:
        both: pixels that are true and predicted, (…).
        sizes: true pixels plus predicted pixels, (…).
        smooth: what is added to both sides of the ratio.

    Returns:
        float64, (…).
    """
    return (2 * both + smooth) / (sizes + smooth)


def smooth_jaccard(both: Any, sizes: Any, smooth: float = SMOOTH) -> Any:
    """Compute the library's IoU score.

    Args:
        both: as in smooth_dice.
        sizes: as in smooth_dice.
        smooth: as in smooth_dice.

    Returns:
        float64, (…).
    """
    return (both + smooth) / (sizes - both + smooth)


def _background(fold: SegmentedFold, score: Score, empty: bool) -> Any:
    """Average the background's score over images, of the prediction or of an empty mask."""
    cases, name = fold.cases, fold.classes[0]
    true = cases[f"true_{name}"].to_numpy()
    if empty:
        pixels = cases[[f"true_{each}" for each in fold.classes]].sum(axis=1).to_numpy()
        return fold.mean(score(true, true + pixels))
    both, predicted = cases[f"both_{name}_sure"].to_numpy(), cases[f"predicted_{name}_sure"].to_numpy()
    return fold.mean(score(both, true + predicted))


def _batches(fold: SegmentedFold, score: Score) -> Any:
    """Pool pixels per batch and class, average over the classes, then over the batches that hold an image."""
    scores = [
        np.mean([_pool(fold, name, batch, score) for name in fold.classes], axis=0)
        for batch in cut_batches(len(fold.cases))
    ]
    counted = np.stack(scores)
    return divide(np.nansum(counted, axis=0), np.sum(~np.isnan(counted), axis=0))


def cut_batches(images: int) -> Sequence[slice]:
    """Cut the test images into batches in their order. As the study does, it leaves an incomplete last batch out."""
    whole = images // BATCH
    return [slice(BATCH * number, BATCH * (number + 1)) for number in range(whole)] or [slice(0, images)]


def _pool(fold: SegmentedFold, name: str, batch: slice, score: Score) -> Any:
    """Score a class on the pooled pixels of a batch: their mean over images, so that bootstrap draws weigh images."""
    cases = fold.cases
    both, sizes = cases[f"both_{name}_sure"], cases[f"true_{name}"] + cases[f"predicted_{name}_sure"]
    inside = np.zeros(len(cases), bool)
    inside[batch] = True
    means = [fold.mean(np.where(inside, counts.to_numpy(), np.nan)) for counts in (both, sizes)]
    return score(*means, smooth=SMOOTH / inside.sum())


_NAMED: tuple[tuple[str, str, Score], ...] = (("dice", "Dice", smooth_dice), ("jaccard", "Jaccard", smooth_jaccard))

for _name, _label, _score in _NAMED:
    metric(
        f"Background {_label} (study)",
        f"{_label} of the background per slice, then the mean over slices: what the study reports for binary masks. A "
        "pixel is background where the model gives it more than half the probability. It hardly depends on lesions.",
        f"{_name}_background",
        rests_on=BACKGROUND,
        in_report=_name == "dice",
    )(partial(_background, score=_score, empty=False))
    metric(
        f"Background {_label} of an empty mask",
        f"As background {_label}, of a mask without any lesion, which needs no model.",
        f"{_name}_background_empty",
        rests_on=BACKGROUND,
        in_report=False,
    )(partial(_background, score=_score, empty=True))
    metric(
        f"{_label} per batch (study)",
        f"{_label} of each class on the pixels of {BATCH} test slices together, in the order of the test fold; the "
        "mean over all classes, background too; then the mean over batches: what the study reports for four classes. A "
        "pixel counts to a class that has more than half the probability. An incomplete last batch is left out. "
        "Bootstrap draws keep the batches and draw the slices in them.",
        f"{_name}_study_batches",
        rests_on=EVERY_CLASS,
        in_report=_name == "dice",
    )(partial(_batches, score=_score))
