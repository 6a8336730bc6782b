"""Save a comparison of every task in MLflow's own pages: the columns that rank its runs, with the best run first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from covbench.operations.mlflow.store import SQLITE, database_path, open_client, prepare_store
from covbench.schema import SEGMENTATION, CovbenchError

if TYPE_CHECKING:
    from mlflow import MlflowClient

HELP = """\
Print the address of every task's comparison in MLflow's own pages: its runs, with the best one first.

The store is migrated to this version of MLflow first. No run is changed. `covbench mlflow` does this and serves them.
"""
EXAMPLES = """\
examples:
  covbench mlflow-views                                        the study's store in this folder
  covbench mlflow-views sqlite:///demo/results/mlflow.db
  covbench mlflow-views http://server:5000 http://server:5000  a store behind a server
"""

NAME = "comparison"
TAG = f"mlflow.sharedViewState.{NAME}"
"""The tag in which MLflow's pages keep a shared view."""
COLUMNS = {
    "classification": ("test/auroc", "test/balanced_accuracy", "test/accuracy", "run/seconds", "run/parameters"),
    SEGMENTATION: ("test/dice_lesion", "test/jaccard_lesion", "test/recall_lesion", "run/seconds", "run/parameters"),
}


def save_view(client: MlflowClient, experiment: str, kind: str) -> None:
    """Save the comparison of a task with its experiment, unless it is there already.

    Args:
        client: Client of the store.
        experiment: Id of the experiment.
        kind: classification or segmentation.
    """
    text = json.dumps(_describe_view(COLUMNS[kind]), sort_keys=True)
    if client.get_experiment(experiment).tags.get(TAG) != text:
        client.set_experiment_tag(experiment, TAG, text)


def _describe_view(metrics: Sequence[str]) -> dict[str, object]:
    """Describe the state of MLflow's page, with the keys of the experiment page of MLflow 3."""
    params = [f"params.`{name}`" for name in ("protocol", "architecture", "seed")]
    return {
        "searchFilter": "params.seed != ''",  # without the runs that represent a whole benchmark
        "orderByKey": f"metrics.`{metrics[0]}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*params, *(f"metrics.`{name}`" for name in metrics)],
    }


def require_store(uri: str) -> None:
    """Prepare a store for reading. A SQLite file that does not exist is not created, but raises CovbenchError."""
    if uri.startswith(SQLITE) and not database_path(uri).is_file():
        raise CovbenchError(
            f"{database_path(uri)}: no such file; run the benchmark first, or name another store: "
            f"{SQLITE}demo/results/mlflow.db"
        )
    prepare_store(uri)


def list_views(uri: str, server: str) -> list[str]:
    """List the name of each task and the address of its comparison on `server`, a line per task."""
    client = open_client(uri)
    experiments = [found for found in client.search_experiments() if TAG in found.tags]
    return [
        f"{found.name:20} {server}/#/experiments/{found.experiment_id}/runs?viewStateShareKey={NAME}"
        for found in sorted(experiments, key=lambda found: found.name)
    ]
