"""The stored predictions of a model's seeds -> the metrics of each and a row per test image; loads no model."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from covbench.evaluation.score import score_run
from covbench.schema import Run
from covbench.system.stage_files import check_files

check_files(snakemake.input)
w, p = snakemake.wildcards, snakemake.params
for seed in p.seeds:
    score_run(Run(w.task, w.protocol, w.architecture, seed), p.rows, p.masks)
