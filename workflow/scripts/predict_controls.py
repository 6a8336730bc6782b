"""Trained classifiers of some seeds -> what they predict without lungs, borders or the rest, and where they look."""

from covbench.system.threads import fix_threads

fix_threads(snakemake.params.threads)

from covbench.system.gpu_leases import lease_gpus
from covbench.system.logs import log_to
from covbench.training.start_keras import start_keras

log_to(snakemake.log[0])
lease_gpus(snakemake.resources.get("gpu", 0))
start_keras()

from covbench.protocols import Options
from covbench.schema import Run
from covbench.system.stage_files import check_files
from covbench.training.predict_controls import ControlJob, predict_controls

i, w, p = snakemake.input, snakemake.wildcards, snakemake.params
check_files(i)
runs = [Run(w.task, w.protocol, w.architecture, seed) for seed in p.seeds]
job = ControlJob(runs, i.models, i.splits, i.prepared, i.lungs, i.lesions, Options(**p.options))
predict_controls(job, dict(snakemake.output.items()))
