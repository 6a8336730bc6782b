"""Trained models of some seeds and prepared arrays of another dataset -> their scores there, per image and in total."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(snakemake.threads))
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", str(snakemake.threads))
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # a GPU may have other users

from covbench.system.gpu_leases import lease_gpus
from covbench.system.logs import log_to

log_to(snakemake.log[0])
lease_gpus(snakemake.resources.get("gpu", 0))

from covbench.schema import Run
from covbench.training.external_test import score_elsewhere

i, w = snakemake.input, snakemake.wildcards
score_elsewhere(
    [Run(w.task, w.protocol, w.architecture, seed) for seed in snakemake.params.seeds],
    w.other,
    snakemake.params.options,
    model_paths=i.models,
    index_path=i.index,
    duplicates_path=i.copies,
    prepared_paths=i.prepared,
    outputs=dict(snakemake.output.items()),
)
