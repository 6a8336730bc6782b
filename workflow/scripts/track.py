"""Finished runs -> MLflow, and a list of what is where."""

from covbench.logs import log_to

log_to(snakemake.log[0])

from pathlib import Path

from covbench.files import write_json
from covbench.plan import describe_plan
from covbench.reporting.single import draw_run
from covbench.tracking.copies import read_run, track_runs
from covbench.tracking.store import prepare_store

uri = snakemake.params.uri
prepare_store(uri)
runs = [read_run(Path(entry["folder"])) for entry in describe_plan(snakemake.config)]
write_json(snakemake.output[0], track_runs(uri, runs, draw_run, snakemake.params.copy_models))
