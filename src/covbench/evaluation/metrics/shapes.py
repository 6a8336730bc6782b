"""The metrics of a segmentation beyond overlap: outlines, volumes and single lesions, on the stored grids of the masks.

Each is computed from a column of the cases, and rests on the groups that have a value there. Empty masks follow Metrics
Reloaded (Maier-Hein et al. 2024, Nat. Methods 21:195): a slice or volume without an annotated lesion has no score of
its outline, and one without a predicted lesion has the worst.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from covbench.evaluation.metrics.columns import MILLILITRES, PERCENTS, SHAPE_COLUMNS, VOLUME_SHAPES
from covbench.evaluation.metrics.registry import METRICS, register_metric
from covbench.evaluation.metrics.segmentation import UNTRUE, SegmentedFold
from covbench.evaluation.ratios import divide
from covbench.schema import SEGMENTATION

LIMIT = 1.96
"""Standard deviations on either side of the bias (Bland and Altman 1986, Lancet 327:307)."""
NO_LUNG = "no whole volume with an annotated lung in the test fold"
NO_SPACING = "the dataset states no spacing in millimetres"
NO_VOLUME = "no whole volume with a lesion in the test fold"
NO_MEASURED_VOLUME = "no whole volume of known spacing in the test fold"

metric = partial(register_metric, SEGMENTATION)


def _average(fold: SegmentedFold, column: str) -> Any:
    return fold.mean(fold.cases[column].to_numpy())


def _explain(fold: SegmentedFold, column: str) -> str:
    if fold.cases["true_lesion_native"].sum() == 0:
        return UNTRUE
    if column in VOLUME_SHAPES and fold.cases[VOLUME_SHAPES[-1]].isna().all():
        return NO_VOLUME
    return NO_SPACING


_SCORES = {
    "surface_dice_1mm": (
        "surface Dice at 1 mm",
        "Share of both outlines, by length or area, that lies within 1 mm of the other one (normalised surface Dice); "
        "0 where nothing is predicted.",
        "",
    ),
    "surface_dice_3mm": ("surface Dice at 3 mm", "As surface Dice at 1 mm, within 3 mm.", ""),
    "hd95": (
        "HD95",
        "The larger of the two 95 % quantiles of the distances from one outline to the other; the diagonal of the grid "
        "where nothing is predicted. Smaller is better.",
        "mm",
    ),
    "assd": (
        "ASSD",
        "Mean distance from one outline to the other, over both outlines; the diagonal of the grid where nothing is "
        "predicted. Smaller is better.",
        "mm",
    ),
    "detection_f1": (
        "detection F1",
        "2·matched / (annotated + predicted lesions). A lesion is a connected part of a mask; pixels that touch at a "
        "corner are connected. Two lesions match if their Jaccard index is 0.1 or more, each lesion at most once. No "
        "spacing is needed.",
        "",
    ),
}
_GRIDS = {
    "": ("", "Per slice at native spacing, then the mean over the slices whose truth holds a lesion."),
    "_volume": (
        " per volume",
        "In three dimensions at native spacing, then the mean over the whole volumes that hold a lesion.",
    ),
}

for _score, (_label, _definition, _unit) in _SCORES.items():
    for _suffix, (_where, _mean) in _GRIDS.items():
        _column = f"{_score}_lesion{_suffix}"
        metric(
            f"Lesion {_label}{_where}" + (f", {_unit}" if _unit else ""),
            f"{_definition} {_mean}",
            _column,
            partial(_explain, column=_column),
            _column,
            unit=_unit,
            in_report=False,
            lower_is_better=_unit == "mm",
        )(partial(_average, column=_column))


def _differ(fold: SegmentedFold, columns: tuple[str, str]) -> np.ndarray:
    """Predicted minus annotated size of each whole volume: float64, (N,), NaN in all other rows."""
    true, predicted = (fold.cases[name].to_numpy(np.float64) for name in columns)
    return predicted - true


def _bias(fold: SegmentedFold, columns: tuple[str, str]) -> Any:
    return fold.mean(_differ(fold, columns))


def _error(fold: SegmentedFold, columns: tuple[str, str]) -> Any:
    return fold.mean(np.abs(_differ(fold, columns)))


def _limit(fold: SegmentedFold, side: float) -> Any:
    """The bias and LIMIT standard deviations of the differences, of which there are two or more."""
    differences = _differ(fold, MILLILITRES)
    known = differences[~np.isnan(differences)]
    centre = known.mean() if len(known) else 0.0  # subtracted first, so that squares lose no digits
    bias, square = fold.mean(differences - centre), fold.mean((differences - centre) ** 2)
    variance = np.maximum(square - bias**2, 0) * divide(np.array(len(known)), np.array(len(known) - 1))
    return centre + bias + side * np.sqrt(variance)


_OF_VOLUMES = "Over the whole volumes of the test fold, with a lesion or without."

for _name, _label, _definition, _function, _better in (
    ("bias", "bias", "Predicted minus annotated volume of all lesions, mean.", partial(_bias, columns=MILLILITRES), 0),
    ("low", "lower limit of agreement", "The bias minus 1.96 standard deviations.", partial(_limit, side=-LIMIT), 0),
    ("high", "upper limit of agreement", "The bias plus 1.96 standard deviations.", partial(_limit, side=LIMIT), 0),
    ("error", "error", "The absolute difference, mean. Smaller is better.", partial(_error, columns=MILLILITRES), 1),
):
    metric(
        f"Lesion volume: {_label}, ml",
        f"{_definition} {_OF_VOLUMES}",
        f"volume_{_name}_ml",
        lambda _: NO_MEASURED_VOLUME,
        MILLILITRES[0],
        unit="ml",
        in_report=False,
        lower_is_better=bool(_better),
    )(_function)

for _name, _definition, _function, _better in (
    ("bias", "Predicted minus annotated lesion", partial(_bias, columns=PERCENTS), 0),
    ("error", "Absolute difference of predicted and annotated lesion", partial(_error, columns=PERCENTS), 1),
):
    metric(
        f"Lesion in percent of the lung: {_name}",
        f"{_definition}, both in percent of the annotated lung, mean. The lung is everything but the background. "
        f"{_OF_VOLUMES}",
        f"lung_percent_{_name}",
        lambda _: NO_LUNG,
        PERCENTS[0],
        unit="%",
        in_report=False,
        lower_is_better=bool(_better),
    )(_function)

NAMES = tuple(name for name, entry in METRICS[SEGMENTATION].items() if entry.rests_on in SHAPE_COLUMNS)
