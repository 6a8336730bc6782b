"""Indexes and duplicates -> labels that contradict each other, and what audited splits drop from authors' splits."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from pathlib import Path

import pandas as pd

from covbench.audit.contradictions import audit_labels
from covbench.data.datasets import TASKS
from covbench.system.files import write_table
from covbench.system.stage_files import check_files, seal_files

check_files(snakemake.input)
indexes = {Path(path).stem: pd.read_parquet(path) for path in snakemake.input.indexes}
duplicates = {(Path(path).parent.name, Path(path).stem): pd.read_parquet(path) for path in snakemake.input.duplicates}
tables = audit_labels(indexes, duplicates, [TASKS[name] for name in snakemake.params.tasks])
for name, table in tables.items():
    write_table(snakemake.output[name], table)
seal_files(snakemake.output)
