"""The predictions of a finished run, whatever made them, as tables and masks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from covbench.files import write_predictions
from covbench.folds import Fold, tabulate_predictions


def write_folds(
    folds: Mapping[str, Fold], predicted: Mapping[str, np.ndarray], seed: int, outputs: Mapping[str, str]
) -> None:
    """Write what was predicted for the named folds, one table after the other, and masks in the same order.

    predicted: by the same names, probabilities, float, (R, C), or class maps, uint8, (R, H, W), where pixels are
    labelled. outputs: paths by `predictions` and, for class maps, `masks`.
    """
    tables, maps = [], []
    for name, fold in folds.items():
        labels_pixels = fold.masks is not None
        tables.append(tabulate_predictions(fold, name, seed, None if labels_pixels else predicted[name]))
        maps += [predicted[name]] if labels_pixels else []
    write_predictions(pd.concat(tables, ignore_index=True), maps, outputs)
