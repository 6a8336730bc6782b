"""Prepared arrays and a split -> the predictions and manifest of a baseline; no TensorFlow."""

from covbench.system.threads import BASELINE_THREADS, fix_threads

fix_threads(BASELINE_THREADS)

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from covbench.schema import Run
from covbench.training.baseline_job import fit_baseline_run

w = snakemake.wildcards
fit_baseline_run(
    Run(w.task, w.protocol, w.architecture, int(w.seed)),
    split_path=snakemake.input.split,
    prepared_paths=snakemake.input.prepared,
    outputs=dict(snakemake.output.items()),
)
