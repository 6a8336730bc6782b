"""Scores on other datasets beside those inside -> one table with the drop of each and its interval."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from covbench.evaluation.comparison.external_drop import compare_external
from covbench.experiment.plan import plan_runs
from covbench.system.files import write_table
from covbench.system.stage_files import seal_files

write_table(snakemake.output[0], compare_external(plan_runs(snakemake.config)))
seal_files(snakemake.output)
