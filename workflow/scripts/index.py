"""A dataset as published -> a row per image, with its reason where it cannot be used."""

from covbench.system.logs import log_to

log_to(snakemake.log[0], show_progress=True)

from pathlib import Path

from covbench.data.datasets import dataset_named, log_counts
from covbench.system.files import write_table

name = snakemake.wildcards.dataset
table = dataset_named(name).index(Path("data/raw") / name)
log_counts(name, table)
write_table(snakemake.output[0], table)
