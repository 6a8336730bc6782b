"""The columns of the audit's tables. No run depends on them."""

from __future__ import annotations

from covbench.schema import CELL_COLUMNS, Column

_TASK = {"task": CELL_COLUMNS["task"]}

AUDIT_TABLES: dict[str, dict[str, Column]] = {
    "splits": {
        **CELL_COLUMNS,
        "seed": Column("int64", "of the split"),
        "class": Column("str", "class of the test images; empty: all of them"),
        "test_images": Column("int64", "rows of the test fold"),
        "image_in_val": Column("int64", "test images that are also in the validation fold"),
        "image_in_train": Column("int64", "the very image is in the training fold"),
        "augmented_copy_in_train": Column("int64", "an augmented copy of the image is, or the image of such a copy"),
        "patient_in_train": Column(
            "float64", "another image of the patient is, as published or inferred; empty: nothing is known of patients"
        ),
        "duplicate_in_train": Column("int64", "an image with the same bytes is"),
        "near_duplicate_in_train": Column("int64", "a near, mirrored or annotated duplicate is"),
        "leaked": Column("int64", "test images that any of these columns counts, validation left out"),
        "leaked_share": Column("float64", "share of the test images; empty without any"),
    },
    "pairs": {
        **CELL_COLUMNS,
        "seed": Column("int64", "of the split"),
        "class": Column("str", "of the test image; empty for a segmentation"),
        "image_id": Column("str", "test image"),
        "copy": Column("int64", "its augmented copy; 0: the image itself"),
        "train_id": Column("str", "training image that shows the same"),
        "train_copy": Column("int64", "its augmented copy; 0: the image itself"),
        "kind": Column("str", "exact, near, mirrored, annotated or augmented"),
        "correlation": Column("float64", "of the two pictures before augmentation; annotated: median over blocks"),
    },
    "across": {
        "dataset": Column("str", "first dataset"),
        "other": Column("str", "second dataset, or the same one"),
        "images": Column("int64", "usable images of the first"),
        "other_images": Column("int64", "usable images of the second"),
        "exact": Column("int64", "pairs with the same bytes or pixels"),
        "near": Column("int64", "pairs of near-duplicates"),
        "mirrored": Column("int64", "pairs of which one is mirrored"),
        "annotated": Column("int64", "pairs that differ by arrows, boxes or text burnt in"),
        "images_with_duplicate": Column("int64", "images of the first that have any"),
        "other_images_with_duplicate": Column("int64", "images of the second that have any"),
    },
    "sources": {
        **_TASK,
        "predictor": Column("str", "source: hospital or journal; file: type, size and colour mode of the file"),
        "images": Column("int64", "usable images"),
        "groups": Column("int64", "patients and duplicates that stay together"),
        "distinct": Column("int64", "different values of the predictor"),
        "balanced_accuracy": Column("float64", "cross-validated; empty: the note says why"),
        "chance": Column("float64", "balanced accuracy of guessing"),
        "auroc": Column("float64", "cross-validated; mean of one class against the rest for more than two"),
        "auroc_low": Column("float64", "lower end of its 95 % interval over groups; empty: none"),
        "auroc_high": Column("float64", "upper end of it"),
        "chance_auroc": Column("float64", "AUROC of guessing"),
        "note": Column("str", "folds, or why nothing can be predicted"),
    },
    "contradictions": {
        **_TASK,
        "other_task": Column("str", "the same task, or one of another dataset"),
        "image_id": Column("str", "image of the first task"),
        "label": Column("str", "its class"),
        "official_fold": Column("str", "its fold in the authors' split; empty: they publish none"),
        "audited": Column("str", "what becomes of it in the audited split"),
        "other_id": Column("str", "its duplicate, an image of the second task"),
        "other_label": Column("str", "class of the duplicate"),
        "other_official_fold": Column("str", "fold of the duplicate in the authors' split"),
        "other_audited": Column("str", "what becomes of the duplicate in the audited split"),
        "kind": Column("str", "exact, near, mirrored or annotated"),
        "correlation": Column("float64", "of the two pictures, as in data/duplicates"),
    },
    "mixed_patients": {
        **_TASK,
        "patient_id": Column("str", "patient with images of several classes"),
        "image_id": Column("str", "one of the patient's images"),
        "label": Column("str", "its class"),
        "official_fold": Column("str", "its fold in the authors' split; empty: they publish none"),
        "audited": Column("str", "what becomes of it in the audited split"),
    },
    "dropped": {
        **_TASK,
        "image_id": Column("str", "row of the authors' split that the audited split drops"),
        "patient_id": Column("str", "its patient"),
        "label": Column("str", "its class; empty for a segmentation"),
        "official_fold": Column("str", "fold that it is dropped from; empty: it is on no list"),
        "because": Column("str", "kind of the duplicate in a later fold; else patient, chain of both, or unlisted"),
        "other_id": Column("str", "that image of a later fold; empty: the row is on no list of the authors"),
        "other_label": Column("str", "its class"),
        "other_official_fold": Column("str", "its fold"),
        "contradictory": Column("int64", "1: the two are duplicates, and their labels differ"),
    },
}
"""Columns of results/audit/{name}.csv, in their order."""
