"""The exact definition of each metric: which class, which average, slice or volume, and what empty masks do.

Metrics of a whole test fold are registered in covbench.evaluation.metrics. Metrics of a class are listed here.
"""

from __future__ import annotations

from dataclasses import dataclass

from covbench.evaluation.metrics import classification, segmentation, shapes, study_masks
from covbench.evaluation.metrics.registry import METRICS

__all__ = [
    "CLASS_METRICS",
    "METRICS",
    "classification",
    "define_metric",
    "label_metric",
    "list_reported",
    "segmentation",
    "shapes",
    "study_masks",
]


@dataclass(frozen=True)
class Heading:
    """The heading of a metric, and its exact definition."""

    label: str
    definition: str


CLASS_METRICS = {
    "precision": Heading("Precision", "TP / (TP + FP) of this class against the rest."),
    "recall": Heading("Recall", "TP / (TP + FN) of this class against the rest."),
    "specificity": Heading("Specificity", "TN / (TN + FP) of this class against the rest."),
    "f1": Heading("F1", "2·TP / (2·TP + FP + FN) of this class against the rest."),
    "auroc": Heading("AUROC", "This class against the rest."),
    "average_precision": Heading("Average precision", "This class against the rest."),
    "support": Heading("Images", "Test images of this class."),
    "dice": Heading("Dice (F1)", "Per slice, then the mean over slices whose truth holds the class."),
    "jaccard": Heading("Jaccard", "Per slice, then the mean over slices whose truth holds the class."),
    "dice_volume": Heading(
        "Dice / volume", "Pixels pooled per patient, then the mean over patients who have the class."
    ),
    "jaccard_volume": Heading(
        "Jaccard / volume", "Pixels pooled per patient, then the mean over patients who have the class."
    ),
    "precision_volume": Heading(
        "Precision / volume", "Pixels pooled per patient, then the mean over patients who have the class."
    ),
    "recall_volume": Heading(
        "Recall / volume", "Pixels pooled per patient, then the mean over patients who have the class."
    ),
    "dice_total": Heading("Dice in total", "Every pixel of the test fold pooled."),
    "images_with_class": Heading("Slices", "Test slices whose truth holds this class."),
}


def list_reported(kind: str) -> tuple[str, ...]:
    """List the metrics that the report's tables show for a kind of task; none for an unknown kind."""
    return tuple(metric.name for metric in METRICS.get(kind, {}).values() if metric.in_report)


def label_metric(metric: str) -> str:
    """Return the heading of a metric. An unknown metric keeps its name."""
    known = {name: entry.label for name, entry in CLASS_METRICS.items()}
    for table in reversed(METRICS.values()):
        known |= {name: entry.label for name, entry in table.items()}
    return known.get(metric, metric)


def define_metric(metric: str) -> str:
    """Return the exact definition of a metric of metrics.json; empty for an unknown metric."""
    for table in METRICS.values():
        if metric in table:
            return table[metric].definition
    return ""
