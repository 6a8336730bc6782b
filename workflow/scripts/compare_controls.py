"""What networks predicted for altered images beside their scores -> one table with the change of each and a flag."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from covbench.evaluation.comparison.controls import compare_controls
from covbench.experiment.plan import plan_runs
from covbench.system.files import write_table
from covbench.system.stage_files import seal_files

write_table(snakemake.output[0], compare_controls(plan_runs(snakemake.config)))
seal_files(snakemake.output)
