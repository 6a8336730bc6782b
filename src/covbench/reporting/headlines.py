"""The one metric that ranks a task's models, and the one that represents each kind of task across datasets."""

from __future__ import annotations

import pandas as pd

from covbench.evaluation.definitions import METRICS
from covbench.schema import CLASSIFICATION, SEGMENTATION

HEADLINES = {CLASSIFICATION: "auroc", SEGMENTATION: "dice_lesion"}
"""Kind of task -> the metric of the summary and of external validation."""
STUDY_HEADLINES = {CLASSIFICATION: "accuracy", SEGMENTATION: "f1"}
"""Kind of task -> the study's own main metric."""


def choose_headline(kind: str, published: pd.DataFrame) -> str:
    """The metric that ranks a task's models: lesion Dice, accuracy where the study reports it, otherwise AUROC.

    published: rows of one task, as results/compare/published.csv.
    """
    studied = STUDY_HEADLINES[CLASSIFICATION]
    if kind != SEGMENTATION and studied in set(published["metric"]):
        return studied
    return HEADLINES.get(kind, HEADLINES[CLASSIFICATION])


def prefers_lower(metric: str) -> bool:
    """Whether a smaller value of a metric is the better one."""
    return any(table[metric].lower_is_better for table in METRICS.values() if metric in table)
