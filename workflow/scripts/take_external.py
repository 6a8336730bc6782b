"""What the seeds of a contestant answered for all other datasets -> its answers for one of them; runs no command."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from covbench.audit.unseen import ExternalSet
from covbench.contestants.external import take_external
from covbench.schema import Run
from covbench.system.stage_files import check_files

i, w = snakemake.input, snakemake.wildcards
check_files(i)
runs = [Run(w.task, w.protocol, w.architecture, seed) for seed in snakemake.params.seeds]
external = ExternalSet(w.external, i.index, i.duplicates, i.within, i.prepared)
take_external(runs, i.answers, i.masks, external, dict(snakemake.output.items()))
