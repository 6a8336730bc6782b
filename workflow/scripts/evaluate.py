"""A run's stored predictions -> its metrics and a row per test image; loads no model."""

from covbench.logs import log_to

log_to(snakemake.log[0])

from pathlib import Path

import numpy as np
import pandas as pd

from covbench.datasets import TASKS
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.files import write_json, write_table
from covbench.folds import select_fold

task = TASKS[snakemake.wildcards.task]
predictions = pd.read_parquet(snakemake.input.predictions)
if snakemake.input.masks:
    paths = {Path(path).name: path for path in snakemake.input.masks}
    prepared = np.load(paths["masks.npy"], mmap_mode="r")
    # masks stand in for the images, which scoring does not need
    test = select_fold(
        prepared, prepared, pd.read_parquet(paths["rows.parquet"]), predictions, "test", len(task.classes)
    )
    predicted = np.load(paths["predicted_masks.npz"])["masks"][(predictions["fold"] == "test").to_numpy()]
    metrics, cases = evaluate_segmentation(test.rows, test.load_masks(), predicted, task)
else:
    metrics, cases = evaluate_classification(predictions, task)
write_table(snakemake.output.cases, cases)
write_json(snakemake.output.metrics, metrics)
