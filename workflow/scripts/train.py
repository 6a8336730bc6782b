"""Prepared arrays and a split -> a trained model, its learning curves, manifest and predictions."""

from covbench.system.threads import fix_threads

fix_threads(snakemake.params.settings["threads"])

from covbench.system.gpu_leases import lease_gpus
from covbench.system.logs import log_to
from covbench.training.start_keras import start_keras

log_to(snakemake.log[0])
lease_gpus(snakemake.resources.get("gpu", 0))
start_keras()

from functools import partial

from covbench.operations.mlflow.live import follow_run
from covbench.schema import Run
from covbench.system.energy import EnergySettings
from covbench.training.job import TrainingJob, train_run

w = snakemake.wildcards
run = Run(w.task, w.protocol, w.architecture, int(w.seed))
job = TrainingJob.from_rule(run, snakemake.input, snakemake.params, snakemake.output)
energy = EnergySettings(**snakemake.config["energy"])
train_run(job, follow=partial(follow_run, snakemake.config["tracking"]), energy=energy)
