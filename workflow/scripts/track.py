"""Finished runs -> MLflow, and a list of what is where."""

from covbench.system.logs import log_to

log_to(snakemake.log[0])

from covbench.experiment.plan import plan_runs
from covbench.experiment.runs import examine_runs
from covbench.operations.mlflow.finished_runs import select_tracked, track_runs
from covbench.operations.mlflow.store import prepare_store
from covbench.reporting.figures.single_run import draw_run
from covbench.system.files import write_json

uri = snakemake.params.uri
prepare_store(uri)
runs = select_tracked(examine_runs(plan_runs(snakemake.config)))
write_json(snakemake.output[0], track_runs(uri, runs, draw_run, snakemake.params.copy_models))
