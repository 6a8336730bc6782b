"""Folds of a few small images, whose labels show in what they hold."""

import numpy as np
import pandas as pd

from covbench.data.folds import Fold
from covbench.schema import INDEX_COLUMNS, SPLIT_COLUMNS, Task

CLASSES = Task("covid_ct", "classification", ("COVID", "NonCOVID"), positive="COVID")
LESIONS = Task("medseg_multiclass", "segmentation", ("background", "ground_glass"), lesions=("ground_glass",))


def make_index(count):
    """An index whose names, paths and sources tell the class of each image."""
    labels = ["COVID" if number % 2 else "NonCOVID" for number in range(count)]
    texts = {name: "" for name, column in INDEX_COLUMNS.items() if column.dtype == "str"}
    rows = [
        texts | {"image_id": f"{label}-{n}", "patient_id": f"{label} patient {n}", "path": f"{label}/{n}.png"}
        | {"frame": -1, "label": label, "source": f"hospital of {label}", "view": "Axial"}
        for n, label in enumerate(labels)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def make_folds(count=12, masks=False, size=8):
    """Train, val and test folds of a third each."""
    index = make_index(count)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, size, size), np.uint8)
    drawn = rng.integers(0, 2, (count, size, size), np.uint8) if masks else None
    rows = pd.DataFrame({name: index[name] for name in SPLIT_COLUMNS if name in index}).assign(
        copy=0, group=index["patient_id"], duplicate_set=index["image_id"]
    )
    rows["label"] = -1 if masks else (index["label"] == "NonCOVID").astype(int)
    folds = {}
    for name, part in zip(("train", "val", "test"), np.array_split(np.arange(count), 3), strict=True):
        table = rows.iloc[part].assign(fold=name).reset_index(drop=True)[list(SPLIT_COLUMNS)]
        folds[name] = Fold(images, drawn, part, table, 2, np.zeros(len(part), np.int64))
    return folds, index
