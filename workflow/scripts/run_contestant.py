"""A split, its images and a contestant from elsewhere -> the predictions and the manifest of one of its runs."""

from covbench.system.threads import fix_threads

fix_threads(snakemake.threads)

from covbench.system.gpu_leases import lease_gpus
from covbench.system.logs import log_to

log_to(snakemake.log[0])
lease_gpus(snakemake.resources.get("gpu", 0))

import sys
from pathlib import Path

from covbench.contestants.job import ContestantJob, run_contestant
from covbench.data.datasets import dataset_of
from covbench.experiment.contestants import read_contestant
from covbench.schema import Run
from covbench.system.energy import EnergySettings

w, i = snakemake.wildcards, snakemake.input
environment = i.get("environment")
programs = Path(environment[0]).resolve().parent / "bin" if environment else Path(sys.executable).parent
job = ContestantJob(
    Run(w.task, w.protocol, w.architecture, int(w.seed)),
    read_contestant(w.architecture),
    split=i.split,
    index=i.index,
    prepared=i.prepared,
    raw=f"data/raw/{dataset_of(w.task)}",
    external=snakemake.params.external,
    programs=programs,
    arguments=snakemake.params.arguments,
)
single = {name: paths if isinstance(paths, str) else paths[0] for name, paths in snakemake.output.items() if paths}
run_contestant(job, single, EnergySettings(**snakemake.config["energy"]))
