"""What a model's seeds predicted for the images of another dataset -> their scores there; loads no model."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from covbench.data.datasets import task_named
from covbench.evaluation.external import score_external

w = snakemake.wildcards
files, outputs = dict(snakemake.input.items()), dict(snakemake.output.items())
score_external(task_named(w.task), task_named(w.external), files, outputs)
