"""Trained models of some seeds and prepared arrays of another dataset -> what they predict for its unseen images."""

from covbench.system.threads import fix_threads

fix_threads(snakemake.params.threads)

from covbench.system.gpu_leases import lease_gpus
from covbench.system.logs import log_to
from covbench.training.start_keras import start_keras

log_to(snakemake.log[0])
lease_gpus(snakemake.resources.get("gpu", 0))
start_keras()

from covbench.audit.unseen import ExternalSet
from covbench.protocols import Options
from covbench.schema import Run
from covbench.system.stage_files import check_files
from covbench.training.predict_external import ExternalJob, predict_external

i, w, p = snakemake.input, snakemake.wildcards, snakemake.params
check_files(i)
job = ExternalJob(
    [Run(w.task, w.protocol, w.architecture, seed) for seed in p.seeds],
    i.models,
    Options(**p.options),
    ExternalSet(w.external, i.index, i.duplicates, i.within, i.prepared),
    threads=p.threads,
)
predict_external(job, dict(snakemake.output.items()))
