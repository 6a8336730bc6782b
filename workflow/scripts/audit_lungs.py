"""The lungs of each task's images -> where their masks come from, and how good the classical segmentation is."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from pathlib import Path

import pandas as pd

from covbench.audit.groups import group_images
from covbench.audit.tables import AUDIT_TABLES
from covbench.data.datasets import TASKS, dataset_of, usable_rows
from covbench.data.prepare import split_grid
from covbench.evaluation.comparison.lung_quality import tabulate_lungs
from covbench.system.files import write_table
from covbench.system.stage_files import check_files, seal_files

check_files(snakemake.input)
indexes, duplicates = ({Path(path).stem: path for path in snakemake.input[name]} for name in ("indexes", "duplicates"))
rows = []
for path in map(Path, snakemake.input.lungs):
    task = TASKS[path.parts[-3]]
    dataset = dataset_of(task.name)
    used = usable_rows(pd.read_parquet(indexes[dataset]), task)
    found = tabulate_lungs(pd.read_parquet(path), group_images(used, pd.read_parquet(duplicates[dataset])))
    rows.append({"task": task.name, "size": split_grid(path.parts[-2])[0], **found})
write_table(snakemake.output[0], pd.DataFrame(rows, columns=list(AUDIT_TABLES["lungs"])))
seal_files(snakemake.output)
