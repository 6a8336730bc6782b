"""Prepared arrays and the splits of all seeds -> the predictions and manifests of a baseline; no TensorFlow."""

from covbench.system.threads import BASELINE_THREADS, fix_threads

fix_threads(BASELINE_THREADS)

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from covbench.schema import Run
from covbench.system.energy import EnergySettings
from covbench.training.baseline_job import fit_baseline_run

w, files = snakemake.wildcards, dict(snakemake.output.items())
for number, seed in enumerate(snakemake.params.seeds):
    fit_baseline_run(
        Run(w.task, w.protocol, w.architecture, seed),
        split_path=snakemake.input.splits[number],
        prepared_paths=snakemake.input.prepared,
        outputs={name: paths[number] for name, paths in files.items()},
        energy=EnergySettings(**snakemake.config["energy"]),
    )
