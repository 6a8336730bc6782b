"""What a model's seeds predicted for the images of another dataset -> their scores there; loads no model."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from covbench.data.datasets import task_named
from covbench.evaluation.external import score_external

i, w = snakemake.input, snakemake.wildcards
files = {name: path for name, path in i.items() if path}
score_external(task_named(w.task), task_named(w.external), files, dict(snakemake.output.items()))
