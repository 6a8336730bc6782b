"""Every planned run -> tidy tables with intervals, beside the published values, and the scores for `dvc metrics`."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

import pandas as pd

from covbench.evaluation.comparison.compare import compare_runs, nest_scores
from covbench.evaluation.comparison.counterparts import read_counterparts
from covbench.experiment.plan import plan_runs
from covbench.system.files import write_json, write_table
from covbench.system.stage_files import check_files, seal_files

i = snakemake.input
check_files(i.indexes)
reported, findings = read_counterparts(i.published, i.counterparts, i.findings)
tables = compare_runs(plan_runs(snakemake.config), reported, pd.read_csv(i.literature)) | {"findings": findings}
for name, table in tables.items():
    write_table(snakemake.output[name], table)
write_json(snakemake.output.scores, nest_scores(tables["ranks"]))
seal_files(snakemake.output[name] for name in tables)
