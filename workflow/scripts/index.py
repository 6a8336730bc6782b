"""A dataset as published -> a row per image, with its reason where it cannot be used."""

from covbench.system.logs import log_to

log_to(snakemake.log[0], show_progress=True)

from pathlib import Path

from covbench.data.datasets import dataset_named, log_counts
from covbench.data.fetched_files import require_fetched
from covbench.data.index import check_index
from covbench.system.files import write_table
from covbench.system.stage_files import seal_files

name = snakemake.wildcards.dataset
dataset = dataset_named(name)
raw = Path("data/raw") / name
require_fetched(raw)
table = dataset.index(raw)
check_index(table, dataset.CARD)
log_counts(name, table, dataset.CARD)
write_table(snakemake.output[0], table)
seal_files(snakemake.output)
