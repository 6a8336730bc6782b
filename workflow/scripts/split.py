"""A dataset's index and its duplicates -> the folds of one task under one protocol and seed."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

import pandas as pd

from covbench.audit.splits import assign_folds
from covbench.data.datasets import TASKS, usable_rows
from covbench.protocols import split_rule
from covbench.system.files import write_table
from covbench.system.stage_files import check_files, seal_files

check_files(snakemake.input)
w = snakemake.wildcards
task = TASKS[w.task]
rows = usable_rows(pd.read_parquet(snakemake.input.index), task)
duplicates = pd.read_parquet(snakemake.input.duplicates)
write_table(snakemake.output[0], assign_folds(rows, duplicates, task, split_rule(w.protocol, task), int(w.seed)))
seal_files(snakemake.output)
