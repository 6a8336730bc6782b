"""Comparison, runs and data -> pages that open offline, and their summary in Markdown."""

from covbench.system.logs import log_to

log_to(snakemake.log[0], show_progress=True)

from pathlib import Path

from covbench.experiment.plan import plan_runs
from covbench.reporting.page import build_report, describe_origin
from covbench.system.stage_files import check_files

check_files(snakemake.input)
build_report(
    results=Path("results"),
    data=Path("data"),
    plan=plan_runs(snakemake.config),
    out=Path(snakemake.output.page).parent,
    title="covbench: deep learning architectures on COVID-19 images",
    provenance=describe_origin(),
    printed=Path(snakemake.output.figures),
)
