"""Trained classifiers of a task and the cases that they were tested on -> where each looked, for the worst of them."""

from covbench.system.threads import fix_threads

fix_threads(snakemake.params.threads)

from covbench.system.gpu_leases import lease_gpus
from covbench.system.logs import log_to
from covbench.training.start_keras import start_keras

log_to(snakemake.log[0], show_progress=True)
lease_gpus(snakemake.resources.get("gpu", 0))
start_keras()

from pathlib import Path

from covbench.protocols import Options
from covbench.system.stage_files import check_files, seal_files
from covbench.training.gradcam import ExplainedModel, explain_models

i = snakemake.input
check_files(i)
models = [
    ExplainedModel(Path(model).parent, images, rows, Options(**options))
    for model, images, rows, options in zip(i.models, i.images, i.rows, snakemake.params.options, strict=True)
]
explain_models(models, snakemake.output[0])
seal_files(snakemake.output)
