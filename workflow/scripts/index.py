"""A dataset as published -> a row per image, with its reason where it cannot be used."""

from covbench.system.logs import log_to

log_to(snakemake.log[0], show_progress=True)

from pathlib import Path

from covbench.data.datasets import dataset_named, log_counts
from covbench.data.index import check_index
from covbench.system.files import write_table

name = snakemake.wildcards.dataset
dataset = dataset_named(name)
table = dataset.index(Path("data/raw") / name)
check_index(table, dataset.CARD)
log_counts(name, table, dataset.CARD)
write_table(snakemake.output[0], table)
