"""What networks predicted for altered images, and where they looked -> tables of changes with flags, and of focus."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from covbench.evaluation.comparison.controls import compare_controls
from covbench.evaluation.comparison.focus import compare_focus
from covbench.experiment.plan import plan_runs
from covbench.system.files import write_table
from covbench.system.stage_files import seal_files

plan = plan_runs(snakemake.config)
write_table(snakemake.output.controls, compare_controls(plan))
write_table(snakemake.output.focus, compare_focus(plan))
seal_files(snakemake.output)
