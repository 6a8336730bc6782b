"""A dataset's card -> its files in data/raw/{dataset}, and their manifest."""

from pathlib import Path

from covbench.system.logs import log_to

log_to(snakemake.log[0], show_progress=True)

from covbench.data.datasets import DATASETS
from covbench.data.sources import fetch_dataset

# No parameter of the rule: another mirror brings the same files, so nothing is fetched again for it.
manifest, mirror = Path(snakemake.output[0]), snakemake.config["fetch"]["mirror"]
name = snakemake.wildcards.dataset
fetch_dataset(name, DATASETS[name].CARD, manifest.parent / name, Path(mirror).expanduser() if mirror else None)
