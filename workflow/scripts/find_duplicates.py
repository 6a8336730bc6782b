"""Thumbnails of one dataset or of two -> pairs of exact, near, mirrored and annotated duplicates."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

import pandas as pd

from covbench.audit.duplicates import find_duplicates
from covbench.audit.thumbnails import read_thumbnails
from covbench.data.datasets import DATASETS
from covbench.system.files import write_table
from covbench.system.stage_files import check_files, seal_files

i, w = snakemake.input, snakemake.wildcards
check_files(i)
rows, others = pd.read_parquet(i.index), pd.read_parquet(i.other_index)
thumbnails = read_thumbnails(i.thumbnails)
other = thumbnails if w.dataset == w.other else read_thumbnails(i.other_thumbnails)
synthetic = any(DATASETS[name].CARD.synthetic for name in (w.dataset, w.other))
tables = rows[~rows["excluded"]], thumbnails, others[~others["excluded"]], other
write_table(snakemake.output[0], find_duplicates(*tables, synthetic))
seal_files(snakemake.output)
