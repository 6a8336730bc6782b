"""The table of ImageNet weights -> one file in data/weights, verified."""

from pathlib import Path

from covbench.system.logs import log_to

log_to(snakemake.log[0], show_progress=True)

from covbench.data.sources.pretrained_weights import fetch_weights

# No parameter of the rule: another mirror brings the same file, so nothing is fetched again for it.
mirror = snakemake.config["weights"]["mirror"]
fetch_weights(snakemake.wildcards.file, Path(snakemake.output[0]).parent, Path(mirror).expanduser() if mirror else None)
