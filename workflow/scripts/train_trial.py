"""Prepared arrays and a split -> the learning curves of a trial, and its manifest with the validation loss."""

from covbench.system.threads import fix_threads

fix_threads(snakemake.params.settings["threads"])

from covbench.system.gpu_leases import lease_gpus
from covbench.system.logs import log_to
from covbench.training.start_keras import start_keras

log_to(snakemake.log[0])
lease_gpus(snakemake.resources.get("gpu", 0))
start_keras()

from covbench.experiment.plan import Settings
from covbench.protocols import Options
from covbench.schema import Trial
from covbench.training.job import TrainingJob
from covbench.training.trial import train_trial

w, i, p = snakemake.wildcards, snakemake.input, snakemake.params
weights = i.get("weights")
job = TrainingJob(
    Trial(w.task, w.protocol, w.architecture, int(w.seed), int(w.trial)),
    Options(**p.options),
    split=i.split,
    prepared=i.prepared,
    weights=weights[0] if weights else None,
    outputs=dict(snakemake.output.items()),
    settings=Settings(**p.settings),
)
train_trial(job)
