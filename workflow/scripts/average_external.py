"""What the members of an ensemble predicted for another dataset -> their average there; loads no model."""

from covbench.system.threads import BASELINE_THREADS, fix_threads

fix_threads(BASELINE_THREADS)

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from covbench.contestants.ensemble import average_external
from covbench.experiment.ensembles import Ensemble
from covbench.schema import Run
from covbench.system.stage_files import check_files

i, w, p = snakemake.input, snakemake.wildcards, snakemake.params
check_files(i)
runs = {Run(w.task, w.protocol, w.architecture, int(seed)): list(seeds) for seed, seeds in p.seeds.items()}
average_external(Ensemble(**p.ensemble), runs, dict(i.items()), dict(snakemake.output.items()))
