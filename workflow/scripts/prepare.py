"""An index -> a task's images as one grey array, and its rows."""

from covbench.system.logs import log_to

log_to(snakemake.log[0], show_progress=True)

from pathlib import Path

import pandas as pd

from covbench.data.datasets import dataset_of, task_named
from covbench.data.prepare import prepare_images, split_grid
from covbench.system.files import write_table
from covbench.system.stage_files import check_files, seal_files

check_files(snakemake.input)
w = snakemake.wildcards
side, resize = split_grid(w.size)
rows = prepare_images(
    pd.read_parquet(snakemake.input.index),
    Path("data/raw") / dataset_of(w.task),
    task_named(w.task),
    side,
    Path(snakemake.output.images),
    resize,
)
write_table(snakemake.output.rows, rows)
seal_files([snakemake.output.rows])
