"""Every planned run -> tidy tables with intervals, beside the published values, and the scores for `dvc metrics`."""

from covbench.logs import log_to

log_to(snakemake.log[0])

import pandas as pd

from covbench.comparison import compare_runs, nest_scores
from covbench.files import write_json, write_table
from covbench.plan import describe_plan

i = snakemake.input
tables = compare_runs(describe_plan(snakemake.config), pd.read_csv(i.published), pd.read_csv(i.literature))
for name, table in tables.items():
    write_table(snakemake.output[name], table)
write_json(snakemake.output.scores, nest_scores(tables["ranks"]))
