"""Copy finished runs into MLflow; files stay the truth, and repeating it changes nothing.

A run is found again by two tags, its place in the grid and its fingerprint; a third holds the digest of what was sent,
set last, so that a copy cut short is completed by the next one. Only metric points that are not there yet are sent,
because MLflow would store them twice. One process at a time: rule `track` runs once, after the runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from covbench.schema import CovbenchError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities import Run as MlflowRun

SQLITE = "sqlite:///"
SERVERS = ("http://", "https://")
DATABASES = ("postgresql", "mysql", "mssql")
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # with MLflow's own 7, a server that is down blocks for four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
RUN_TAG, FINGERPRINT_TAG, SENT_TAG = "covbench.run", "covbench.fingerprint", "covbench.sent"
SUPERSEDED_TAG = "covbench.superseded_by"
BATCH = 1000  # metrics that MLflow takes at once

log = logging.getLogger(__name__)

Draw = Callable[[Mapping[str, Any], pd.DataFrame], Mapping[str, str]]


@dataclass(frozen=True)
class TrackedRun:
    """A finished run as its folder holds it.

    manifest, metrics: manifest.json and metrics.json. history: schema.HISTORY_COLUMNS, no rows for a baseline.
    """

    folder: str
    manifest: Mapping[str, Any]
    metrics: Mapping[str, Any]
    history: pd.DataFrame

    @property
    def key(self) -> str:
        """Its place in the grid: task/protocol/architecture/seed."""
        run = self.manifest["run"]
        return f"{run['task']}/{run['protocol']}/{run['architecture']}/{run['seed']}"

    @property
    def finished_ms(self) -> int:
        """When training ended, milliseconds since 1970."""
        return round(datetime.fromisoformat(self.manifest["finished"]).timestamp() * 1000)

    @property
    def started_ms(self) -> int:
        """When training began, milliseconds since 1970."""
        return self.finished_ms - round(1000 * self.manifest.get("seconds", 0))

    def digest(self) -> str:
        """sha256 of everything that is copied, 64 hexadecimal digits."""
        text = json.dumps([self.manifest, self.metrics], sort_keys=True) + self.history.to_csv(index=False)
        return hashlib.sha256(text.encode()).hexdigest()


def read_run(folder: Path | str) -> TrackedRun:
    """A finished run from manifest.json, metrics.json and, where there is one, history.csv of its folder."""
    path = Path(folder)
    manifest, metrics = (json.loads((path / name).read_text("utf-8")) for name in ("manifest.json", "metrics.json"))
    curves = path / "history.csv"
    return TrackedRun(str(folder), manifest, metrics, pd.read_csv(curves) if curves.exists() else pd.DataFrame())


def prepare_store(uri: str) -> None:
    """Make a SQLite store ready before anything logs: its folder, its tables, migrated to this MLflow.

    Left to themselves, processes that meet an empty file create the tables all at once and break it.
    Raises CovbenchError for a kind of store that MLflow cannot use and for a file that cannot be prepared.
    """
    if not uri.startswith((SQLITE, *SERVERS, *DATABASES)):
        raise CovbenchError(f"tracking.uri: {uri!r} is no store; write {SQLITE}results/mlflow.db or http://server:port")
    if not uri.startswith(SQLITE):
        return
    database_path(uri).parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", uri]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ENVIRONMENT})
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise CovbenchError(
            f"tracking.uri: {uri} cannot be prepared ({reason}); move {database_path(uri)} away, a new one will be made"
        )


def database_path(uri: str) -> Path:
    """The file of a SQLite store; relative paths start at the working directory."""
    return Path(uri.removeprefix(SQLITE))


def track_runs(uri: str, runs: Iterable[TrackedRun], draw: Draw | None = None) -> dict[str, str]:
    """Copy runs into a prepared store, an experiment per task; returns folder -> MLflow run id.

    draw: metrics and history of a run -> SVG text by file name, kept with it.
    A run whose fingerprint changed gets a new MLflow run, and the old one a tag that names its successor.
    Raises CovbenchError when the store does not answer or refuses.
    """
    with _explaining(uri):
        client = _open_client(uri)
        tracked: dict[str, str] = {}
        for task, of_task in groupby(
            sorted(runs, key=lambda run: run.key), key=lambda run: run.manifest["run"]["task"]
        ):
            experiment = _find_experiment(client, task, uri)
            known = _find_runs(client, experiment)
            for run in of_task:
                tracked[run.folder] = _track_run(client, experiment, known.get(run.key, {}), run, draw)
        return tracked


@contextmanager
def _explaining(uri: str) -> Iterator[None]:
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        reason = str(error).splitlines()[0][:300]
        raise CovbenchError(
            f"tracking.uri: {uri} failed: {reason}. Is the server up and the address right? Runs are safe in results/; "
            f"track them again later, or set tracking.uri to {SQLITE}results/mlflow.db"
        ) from error


def _open_client(uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def _find_experiment(client: MlflowClient, task: str, uri: str) -> str:
    """Id of the task's experiment, created once; beside a SQLite store its files go to `mlartifacts`."""
    experiment = client.get_experiment_by_name(task)
    if experiment is None:
        beside = database_path(uri).resolve().parent / "mlartifacts" if uri.startswith(SQLITE) else None
        return client.create_experiment(task, artifact_location=beside.as_uri() if beside else None)
    if experiment.lifecycle_stage == "deleted":
        raise CovbenchError(
            f"tracking.uri: experiment '{task}' of {uri} is in MLflow's bin; bring it back with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        )
    return experiment.experiment_id


def _find_runs(client: MlflowClient, experiment: str) -> dict[str, dict[str, MlflowRun]]:
    """Runs copied before: place in the grid -> fingerprint -> run."""
    known: dict[str, dict[str, MlflowRun]] = {}
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        for found in page:
            tags = found.data.tags
            if RUN_TAG in tags:
                known.setdefault(tags[RUN_TAG], {})[tags[FINGERPRINT_TAG]] = found
        token = page.token
        if not token:
            return known


def _track_run(
    client: MlflowClient, experiment: str, known: Mapping[str, MlflowRun], run: TrackedRun, draw: Draw | None
) -> str:
    fingerprint, digest = run.manifest["fingerprint"], run.digest()
    found = known.get(fingerprint)
    if found is None:
        tags = {RUN_TAG: run.key, FINGERPRINT_TAG: fingerprint}
        name = run.key.split("/", 1)[1]
        found = client.create_run(experiment, start_time=run.started_ms, tags=tags, run_name=name)
        log.info("%s: new in MLflow, run %s", run.folder, found.info.run_id)
    if found.data.tags.get(SENT_TAG) != digest:
        _send(client, found, run, draw)
        client.set_tag(found.info.run_id, SENT_TAG, digest)
    _mark_superseded(client, found, [other for other in known.values() if other is not found])
    return found.info.run_id


def _send(client: MlflowClient, found: MlflowRun, run: TrackedRun, draw: Draw | None) -> None:
    """Whatever of a run MLflow does not hold yet; the files in any case."""
    from mlflow.entities import Param, RunTag

    run_id = found.info.run_id
    params = {**run.manifest["run"], **run.manifest["options"]}
    new = [Param(name, str(value)) for name, value in params.items() if name not in found.data.params]
    facts = ("device", "weights", "git_commit")
    tags = [RunTag(f"covbench.{name}", str(run.manifest[name])) for name in facts if name in run.manifest]
    client.log_batch(run_id, params=new, tags=tags)
    points = [*_new_epochs(client, found, run), *_new_scores(found, run)]
    for first in range(0, len(points), BATCH):
        client.log_batch(run_id, metrics=points[first : first + BATCH])
    for name in ("manifest.json", "metrics.json"):
        client.log_artifact(run_id, f"{run.folder}/{name}")
    for name, text in (draw(run.metrics, run.history) if draw else {}).items():
        client.log_text(run_id, text, f"figures/{name}")
    client.set_terminated(run_id, "FINISHED", end_time=run.finished_ms)


def _new_epochs(client: MlflowClient, found: MlflowRun, run: TrackedRun) -> Iterator[Metric]:
    """Learning curves as `epoch/…`, step = epoch: the points whose step MLflow does not hold."""
    from mlflow.entities import Metric

    if run.history.empty:
        return
    ends = run.started_ms + (1000 * run.history["seconds"].cumsum()).round().astype("int64")
    for column in run.history.select_dtypes("number").columns.drop("epoch"):
        key = f"epoch/{column}"
        held = client.get_metric_history(found.info.run_id, key) if key in found.data.metrics else []
        steps = {point.step for point in held}
        for epoch, value, end in zip(run.history["epoch"], run.history[column], ends, strict=True):
            if epoch not in steps:
                yield Metric(key, float(value), int(end), int(epoch))


def _new_scores(found: MlflowRun, run: TrackedRun) -> Iterator[Metric]:
    """Final scores and costs that MLflow holds with another value or not at all; null ones are left out."""
    from mlflow.entities import Metric

    for key, value in list_scores(run).items():
        held = found.data.metrics.get(key)
        if held is None:
            yield Metric(key, value, run.finished_ms, 0)
        elif not math.isclose(held, value, rel_tol=1e-12):
            yield Metric(key, value, round(time.time() * 1000), 0)


def list_scores(run: TrackedRun) -> dict[str, float]:
    """Defined scores as `test/accuracy` and `test/covid/recall`, costs as `run/seconds`."""
    scores = {f"test/{name}": value for name, value in run.metrics["metrics"].items()}
    for label, of_class in run.metrics["per_class"].items():
        scores.update({f"test/{label}/{name}": value for name, value in of_class.items()})
    for name in ("seconds", "peak_memory_mb", "parameters", "epochs_run", "best_epoch"):
        scores[f"run/{name}"] = run.manifest.get(name)
    return {name: float(value) for name, value in scores.items() if value is not None}


def _mark_superseded(client: MlflowClient, current: MlflowRun, others: Iterable[MlflowRun]) -> None:
    run_id = current.info.run_id
    if SUPERSEDED_TAG in current.data.tags:
        client.delete_tag(run_id, SUPERSEDED_TAG)
    for other in others:
        if other.data.tags.get(SUPERSEDED_TAG) != run_id:
            client.set_tag(other.info.run_id, SUPERSEDED_TAG, run_id)
