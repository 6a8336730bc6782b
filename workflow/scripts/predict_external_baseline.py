"""Splits, arrays and stored predictions of a baseline -> what it predicts for the unseen images of another dataset."""

from covbench.system.threads import BASELINE_THREADS, fix_threads

fix_threads(BASELINE_THREADS)

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from covbench.audit.unseen import ExternalSet
from covbench.schema import Run
from covbench.system.stage_files import check_files
from covbench.training.external_baseline import ExternalBaseline, predict_external_baseline

i, w = snakemake.input, snakemake.wildcards
check_files(i)
job = ExternalBaseline(
    [Run(w.task, w.protocol, w.architecture, seed) for seed in snakemake.params.seeds],
    splits=i.splits,
    prepared=i.own,
    predictions=i.predictions,
    images=ExternalSet(w.external, i.index, i.duplicates, i.within, i.prepared),
)
predict_external_baseline(job, dict(snakemake.output.items()))
