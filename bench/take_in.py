"""Twelve models' answers to 15,000 images: seconds to check, take in and score them"""

from __future__ import annotations

import math
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from bench.processes import call_fresh
from bench.rows import Row

MODELS, IMAGES = 12, 15_000


def measure() -> list[Row]:
    """Do it in a separate process, whose start counts too."""
    started = time.monotonic()
    inside = call_fresh("bench.take_in:take_in")
    seconds = time.monotonic() - started
    note = f"{MODELS} models x {IMAGES:,} images of 3 classes, CSV; {inside:.1f} s without the start of Python"
    return [Row("check, take in and score", seconds, math.nan, "s", seconds, "< 60", note)]


def take_in() -> float:
    """Check and score the answers of every model, and write what the workflow keeps of them. Returns seconds."""
    from covbench.contestants.answers import Asked, read_answers
    from covbench.contestants.export import name_rows
    from covbench.data.datasets import TASKS
    from covbench.data.folds import Fold, Predicted, write_predicted
    from covbench.evaluation.classification import evaluate_classification

    task = TASKS["radiography"]
    rng = np.random.default_rng(0)
    ids = [f"image-{number}" for number in range(IMAGES)]
    rows = pd.DataFrame({"image_id": ids, "copy": 0, "patient_id": ids, "group": ids, "duplicate_set": ids})
    rows = rows.assign(source="", label=rng.integers(0, len(task.classes), IMAGES), fold="test")
    fold = Fold(np.empty((0, 1, 1), np.uint8), None, np.arange(IMAGES), rows, len(task.classes), np.arange(IMAGES))
    names = name_rows(task.name, "test", rows)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for model in range(MODELS):
            values = rng.dirichlet([1.0] * len(task.classes), IMAGES)
            table = pd.DataFrame(values, columns=list(task.classes)).assign(id=names)
            table.to_csv(f"{model}.csv", index=False)
        started = time.monotonic()
        for model in range(MODELS):
            found = read_answers(Path(f"{model}.csv"), Asked(names, [], [], task, (1, 1)))
            write_predicted([Predicted(fold, "test", 0, found.predicted)], {"predictions": f"{model}.parquet"})
            evaluate_classification(pd.read_parquet(f"{model}.parquet"), task)
        return time.monotonic() - started
