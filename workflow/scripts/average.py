"""What the members of an ensemble have predicted -> the average, with its manifest; loads no model."""

from covbench.system.threads import BASELINE_THREADS, fix_threads

fix_threads(BASELINE_THREADS)

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from covbench.contestants.ensemble import average_run
from covbench.experiment.ensembles import Ensemble
from covbench.schema import Run

w, p = snakemake.wildcards, snakemake.params
run = Run(w.task, w.protocol, w.architecture, int(w.seed))
average_run(run, Ensemble(**p.ensemble), p.files, dict(snakemake.output.items()))
