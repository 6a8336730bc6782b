"""Prepared arrays and a split -> the predictions and manifest of a baseline; no TensorFlow."""

from covbench.logs import log_to

log_to(snakemake.log[0])

import time

import pandas as pd

from covbench.datasets import TASKS
from covbench.files import write_json, write_predictions
from covbench.folds import open_folds, tabulate_predictions
from covbench.manifest import describe_run, gather_inputs, name_inputs
from covbench.models.baselines import fit_baseline, predict_baseline
from covbench.schema import SEGMENTATION, Run

w = snakemake.wildcards
run = Run(w.task, w.protocol, w.architecture, int(w.seed))
classes = TASKS[run.task].classes
started = time.monotonic()
train, val, test = open_folds(snakemake.input.split, snakemake.input.prepared, ("train", "val", "test"), len(classes))
fitted = fit_baseline(run.architecture, train.load_images(), train.load_targets(), classes, run.seed)

predicted = {fold: predict_baseline(fitted, rows.load_images()) for fold, rows in (("val", val), ("test", test))}
labels_pixels = TASKS[run.task].kind == SEGMENTATION
tables = [
    tabulate_predictions(rows, fold, run.seed, None if labels_pixels else predicted[fold])
    for fold, rows in (("val", val), ("test", test))
]
masks = list(predicted.values()) if labels_pixels else []
write_predictions(pd.concat(tables, ignore_index=True), masks, dict(snakemake.output.items()))

inputs = gather_inputs(run, {}, name_inputs(snakemake.input.split, snakemake.input.prepared), {})
seconds = round(time.monotonic() - started, 1)
facts = {"device": "cpu", "seconds": seconds, "parameters": 0, "epochs_run": 0, "best_epoch": 0, "weights": "none"}
write_json(snakemake.output.manifest, describe_run(inputs, **facts))
