"""An index -> a task's masks as class numbers on their stored grids, in the order of its images."""

from covbench.system.logs import log_to

log_to(snakemake.log[0], show_progress=True)

from pathlib import Path

import pandas as pd

from covbench.data.datasets import dataset_of, task_named
from covbench.data.prepare import prepare_native_masks
from covbench.system.stage_files import check_files, seal_files

check_files(snakemake.input)
w = snakemake.wildcards
prepare_native_masks(
    pd.read_parquet(snakemake.input.index),
    Path("data/raw") / dataset_of(w.task),
    task_named(w.task),
    Path(snakemake.output[0]),
)
seal_files(snakemake.output)
