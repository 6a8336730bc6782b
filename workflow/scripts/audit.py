"""Indexes and splits -> how many test images of each split training has seen, per class."""

from covbench.logs import log_to

log_to(snakemake.log[0])

from pathlib import Path

import pandas as pd

from covbench.audit import AUDIT_COLUMNS, audit_split
from covbench.datasets import TASKS, dataset_of, usable_rows
from covbench.files import write_table

indexes = {Path(path).stem: path for path in snakemake.input.indexes}
counts = []
for path in map(Path, snakemake.input.splits):
    task, protocol, seed = *path.parts[-3:-1], int(path.stem)
    rows = usable_rows(pd.read_parquet(indexes[dataset_of(task)]), TASKS[task])
    for count in audit_split(pd.read_parquet(path), rows, TASKS[task]):
        counts.append({"task": task, "protocol": protocol, "seed": seed, **count})
write_table(snakemake.output[0], pd.DataFrame(counts, columns=["task", "protocol", "seed", *AUDIT_COLUMNS]))
