"""The manifests of all trials -> one table with the rates, the score and the cost of each."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from covbench.evaluation.comparison.searches import tabulate_search
from covbench.experiment.plan import plan_runs
from covbench.system.files import write_table
from covbench.system.stage_files import seal_files

write_table(snakemake.output[0], tabulate_search(plan_runs(snakemake.config)))
seal_files(snakemake.output)
