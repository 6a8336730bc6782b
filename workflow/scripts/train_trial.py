"""Prepared arrays and a split -> the learning curves of a trial, and its manifest with the validation loss."""

from covbench.system.threads import fix_threads

fix_threads(snakemake.params.settings["threads"])

from covbench.system.gpu_leases import lease_gpus
from covbench.system.logs import log_to
from covbench.training.start_keras import start_keras

log_to(snakemake.log[0])
lease_gpus(snakemake.resources.get("gpu", 0))
start_keras()

from covbench.schema import Trial
from covbench.training.job import TrainingJob
from covbench.training.trial import train_trial

w = snakemake.wildcards
run = Trial(w.task, w.protocol, w.architecture, int(w.seed), int(w.trial))
job = TrainingJob.from_rule(run, snakemake.input, snakemake.params, snakemake.output)
train_trial(job)
