"""Indexes -> how well each task's label is predicted without a look at the picture."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from pathlib import Path

import pandas as pd

from covbench.audit.groups import group_images
from covbench.audit.shortcuts import describe_files, predict_from_shortcuts
from covbench.audit.tables import AUDIT_TABLES
from covbench.audit.thumbnails import read_thumbnails
from covbench.data.datasets import TASKS, dataset_of, usable_rows
from covbench.evaluation.comparison.shortcut_scores import tabulate_guesses
from covbench.system.files import write_table
from covbench.system.stage_files import check_files, seal_files

check_files(snakemake.input)
indexes, thumbnails, duplicates = (
    {Path(path).stem: path for path in snakemake.input[name]} for name in ("indexes", "thumbnails", "duplicates")
)
scores = []
for task in map(TASKS.get, snakemake.params.tasks):
    dataset = dataset_of(task.name)
    rows = usable_rows(pd.read_parquet(indexes[dataset]), task)
    small = read_thumbnails(thumbnails[dataset])
    shapes = pd.DataFrame(small.shapes, small.image_id).loc[rows["image_id"]].to_numpy()
    groups = group_images(rows, pd.read_parquet(duplicates[dataset]))
    guessed = predict_from_shortcuts(rows, describe_files(rows, shapes, Path("data/raw") / dataset), groups, task)
    scores += [{"task": task.name, **tabulate_guesses(guesses, task)} for guesses in guessed]
write_table(snakemake.output[0], pd.DataFrame(scores, columns=list(AUDIT_TABLES["sources"])))
seal_files(snakemake.output)
