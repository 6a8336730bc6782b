"""Finished runs -> MLflow, and a list of what is where."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from pathlib import Path

from covbench.experiment.plan import describe_plan
from covbench.operations.mlflow.finished_runs import read_run, track_runs
from covbench.operations.mlflow.store import prepare_store
from covbench.reporting.figures.single_run import draw_run
from covbench.system.files import write_json

uri = snakemake.params.uri
prepare_store(uri)
runs = [read_run(Path(entry["folder"])) for entry in describe_plan(snakemake.config)]
write_json(snakemake.output[0], track_runs(uri, runs, draw_run, snakemake.params.copy_models))
