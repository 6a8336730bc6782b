"""Indexes, duplicates and splits -> what each split has shown to training, and how images came into its folds."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from pathlib import Path

import pandas as pd

from covbench.audit.contradictions import add_fates
from covbench.audit.flow import count_flow
from covbench.audit.leakage import SPLIT_KEYS, audit_split, count_duplicates, find_leaked_pairs
from covbench.audit.tables import AUDIT_TABLES
from covbench.data.datasets import TASKS, dataset_of, publishes_patients, usable_rows
from covbench.system.files import write_table
from covbench.system.stage_files import check_files, seal_files

check_files(snakemake.input)
indexes = {Path(path).stem: pd.read_parquet(path) for path in snakemake.input.indexes}
duplicates = {(Path(path).parent.name, Path(path).stem): pd.read_parquet(path) for path in snakemake.input.duplicates}
counts, flow, pairs, usable = [], [], [pd.DataFrame(columns=list(AUDIT_TABLES["pairs"]))], {}
for path in map(Path, snakemake.input.splits):
    split_of = dict(zip(SPLIT_KEYS, (*path.parts[-3:-1], int(path.stem)), strict=True))
    dataset, task = dataset_of(split_of["task"]), TASKS[split_of["task"]]
    split, within = pd.read_parquet(path), duplicates[dataset, dataset]
    counts += [{**split_of, **count} for count in audit_split(split, within, task)]
    index, published = indexes[dataset], publishes_patients(task.name)
    if task.name not in usable:
        usable[task.name] = add_fates(usable_rows(index, task), within, task)
    flow += [{**split_of, **row} for row in count_flow(index, usable[task.name], split, task, published)]
    pairs.append(find_leaked_pairs(split, within, task).assign(**split_of))
images = {name: int((~index["excluded"]).sum()) for name, index in indexes.items()}
across = [count_duplicates(*names, table, images) for names, table in duplicates.items()]

output = snakemake.output
write_table(output.splits, pd.DataFrame(counts, columns=list(AUDIT_TABLES["splits"])))
write_table(output.flow, pd.DataFrame(flow, columns=list(AUDIT_TABLES["flow"])))
write_table(output.pairs, pd.concat([table for table in pairs if len(table)] or pairs)[list(AUDIT_TABLES["pairs"])])
write_table(output.across, pd.DataFrame(across, columns=list(AUDIT_TABLES["across"])))
seal_files(snakemake.output)
