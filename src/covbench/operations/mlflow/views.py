"""A saved comparison of every task in MLflow's own pages: the columns that rank its runs, the best one on top."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from covbench.operations.mlflow.store import open_client, prepare_store
from covbench.schema import SEGMENTATION

if TYPE_CHECKING:
    from mlflow import MlflowClient

NAME = "comparison"
TAG = f"mlflow.sharedViewState.{NAME}"
"""Where MLflow's pages keep a view that somebody shared."""
COLUMNS = {
    "classification": ("test/auroc", "test/balanced_accuracy", "test/accuracy", "run/seconds", "run/parameters"),
    SEGMENTATION: ("test/dice_lesion", "test/jaccard_lesion", "test/recall_lesion", "run/seconds", "run/parameters"),
}


def save_view(client: MlflowClient, experiment: str, kind: str) -> None:
    """Keep the comparison of a kind of task with its experiment, unless it is there already."""
    text = json.dumps(_describe_view(COLUMNS[kind]), sort_keys=True)
    if client.get_experiment(experiment).tags.get(TAG) != text:
        client.set_experiment_tag(experiment, TAG, text)


def _describe_view(metrics: Sequence[str]) -> dict[str, object]:
    """The state of MLflow's page: its keys are those of mlflow 3's experiment page."""
    params = [f"params.`{name}`" for name in ("protocol", "architecture", "seed")]
    return {
        "searchFilter": "params.seed != ''",  # not the runs that stand for a whole benchmark
        "orderByKey": f"metrics.`{metrics[0]}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [*params, *(f"metrics.`{name}`" for name in metrics)],
    }


def list_views(uri: str, server: str) -> list[str]:
    """A line for each task: its name and the address of its comparison on `server`."""
    client = open_client(uri)
    experiments = [found for found in client.search_experiments() if TAG in found.tags]
    return [
        f"{found.name:20} {server}/#/experiments/{found.experiment_id}/runs?viewStateShareKey={NAME}"
        for found in sorted(experiments, key=lambda found: found.name)
    ]


if __name__ == "__main__":
    prepare_store(sys.argv[1])
    print("\n".join(list_views(*sys.argv[1:])))
