"""The runs that have finished so far -> tables and a page of their own in results/partial."""

from covbench.system.logs import log_to

log_to(snakemake.log[0], show_progress=True)

import logging
from pathlib import Path

import pandas as pd

from covbench.evaluation.comparison.compare import compare_runs
from covbench.evaluation.comparison.controls import compare_controls
from covbench.evaluation.comparison.counterparts import read_counterparts
from covbench.evaluation.comparison.external_drop import compare_external
from covbench.evaluation.comparison.searches import tabulate_search
from covbench.evaluation.score import score_unscored
from covbench.experiment.plan import plan_runs
from covbench.reporting.page import build_report, describe_origin
from covbench.system.files import write_table
from covbench.system.stage_files import check_files, seal_files

plan = plan_runs(snakemake.config)
score_unscored(plan)
finished = ("data/index/*.parquet", "results/audit/*.csv", "results/explained/*/*.npz", "data/thumbnails/*.npz")
check_files(path for pattern in finished for path in Path().glob(pattern))
partial = Path("results/partial")
i = snakemake.input
reported, findings = read_counterparts(i.published, i.counterparts, i.findings)
tables = compare_runs(plan, reported, pd.read_csv(i.literature), partial=True)
tables |= {"external": compare_external(plan), "controls": compare_controls(plan), "findings": findings}
tables |= {"search": tabulate_search(plan)} if snakemake.config["search"] else {}
for name, table in tables.items():
    write_table(partial / "compare" / f"{name}.csv", table)
seal_files(partial / "compare" / f"{name}.csv" for name in tables)
build_report(
    results=Path("results"),
    data=Path("data"),
    plan=plan,
    out=partial / "report",
    title="covbench: what has finished so far",
    provenance=describe_origin(),
    compare=partial / "compare",
    printed=partial / "figures",
)
logging.getLogger("covbench").info("report: %s", (partial / "report" / "index.html").resolve())
