"""Prepared arrays and a split -> a trained model, its learning curves, manifest and predictions."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(snakemake.threads))
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", str(snakemake.threads))
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # a GPU may have other users
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

from covbench.system.gpu_leases import lease_gpus
from covbench.system.logs import log_to

log_to(snakemake.log[0])
lease_gpus(snakemake.resources.get("gpu", 0))

from covbench.schema import Run
from covbench.training.job import train_run

w = snakemake.wildcards
weights = snakemake.input.get("weights")
train_run(
    Run(w.task, w.protocol, w.architecture, int(w.seed)),
    snakemake.params.options,
    split_path=snakemake.input.split,
    prepared_paths=snakemake.input.prepared,
    weights_path=weights[0] if weights else None,
    outputs=dict(snakemake.output.items()),
    deterministic=snakemake.params.deterministic,
    precision=snakemake.params.precision,
    tracking=snakemake.config["tracking"],
)
