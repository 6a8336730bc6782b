"""What each metric counts, to the letter: which class, which average, slice or volume, and what empty masks do."""

from __future__ import annotations

from dataclasses import dataclass

from covbench.schema import CLASSIFICATION, SEGMENTATION


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
    "dice_lesion_total": Metric(
        "Lesion Dice in total",
        "2·TP / (2·TP + FP + FN) over every pixel of the test fold, all lesion classes together: large lesions "
        "dominate, and slices without a lesion count by their false positives alone.",
    ),
    "jaccard_lesion_total": Metric(
        "Lesion Jaccard in total", "TP / (TP + FP + FN), otherwise as lesion Dice in total."
    ),
    "precision_lesion_total": Metric("Lesion precision in total", "Every pixel of the test fold pooled."),
    "recall_lesion_total": Metric("Lesion recall in total", "Every pixel of the test fold pooled."),
    "dice_mean": Metric("Mean Dice (F1)", "Mean of the per-slice Dice of every class but the background."),
    "jaccard_mean": Metric("Mean Jaccard", "Mean of the per-slice Jaccard of every class but the background."),
    "dice_all_total": Metric(
        "Dice of all classes in total",
        "Every pixel of the test fold pooled per class, then the mean over all classes, background too: the nearest to "
        "the study's F1, whose library pools the pixels of a batch.",
    ),
    "jaccard_all_total": Metric(
        "Jaccard of all classes in total",
        "TP / (TP + FP + FN) over every pixel of the test fold per class, then the mean over all classes, background "
        "too.",
    ),
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


def label_metric(metric: str) -> str:
    """The heading of a metric; unknown ones keep their name."""
    for table in (CLASSIFICATION_METRICS, SEGMENTATION_METRICS, CLASS_METRICS):
        if metric in table:
            return table[metric].label
    return metric


def define_metric(metric: str) -> str:
    """What exactly a metric of metrics.json counts; empty for an unknown one."""
    for table in METRICS.values():
        if metric in table:
            return table[metric].definition
    return ""
