"""An index -> a task's masks as class numbers on their stored grids, and a table of these grids, as its images go."""

from covbench.system.logs import log_to

log_to(snakemake.log[0], show_progress=True)

from pathlib import Path

import pandas as pd

from covbench.data.datasets import dataset_of, task_named
from covbench.data.grids import tabulate_grids
from covbench.data.prepare import prepare_native_masks
from covbench.system.files import write_table
from covbench.system.stage_files import check_files, seal_files

check_files(snakemake.input)
w = snakemake.wildcards
index, raw, task = pd.read_parquet(snakemake.input.index), Path("data/raw") / dataset_of(w.task), task_named(w.task)
prepare_native_masks(index, raw, task, Path(snakemake.output.masks))
write_table(snakemake.output.grids, tabulate_grids(index, raw, task))
seal_files(snakemake.output)
