"""Scores on other datasets beside those inside -> one table with the drop of each and its interval."""

from covbench.logs import log_to

log_to(snakemake.log[0])

from covbench.external_comparison import compare_external
from covbench.files import write_table
from covbench.plan import describe_plan

write_table(snakemake.output[0], compare_external(describe_plan(snakemake.config)))
