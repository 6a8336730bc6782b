"""Copy finished runs into MLflow. The files remain the only source, and repeating the copy changes nothing.

Two tags identify a run: its cell of the grid and its fingerprint. A third tag holds the digest of what was sent. It is
set last, so the next copy completes one that was cut short. Only missing metric points are sent, because MLflow would
store the others twice. Only one process copies at a time: rule `track` runs once, after the runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from covbench.data.datasets import TASKS, dataset_of
from covbench.experiment.runs import RunRecord, RunState
from covbench.operations.mlflow.store import (
    FINGERPRINT_TAG,
    FOLDER_TAG,
    RUN_TAG,
    explaining,
    find_experiment,
    open_client,
    search_runs,
    show_path,
)
from covbench.operations.mlflow.views import save_view
from covbench.system.files import hash_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric
    from mlflow.entities import Run as MlflowRun

SENT_TAG, SUPERSEDED_TAG, PARENT_TAG = "covbench.sent", "covbench.superseded_by", "mlflow.parentRunId"
LAYOUT = 3
"""Increase it when the copy of a run gets more content. Every run is then sent again."""
BATCH = 1000  # metrics that MLflow takes at once
FACTS = ["git_commit", "scheduler_job", "device", "cpu", "instruction_set"]
FACTS += ["threads", "weights", "precision", "restarts"]

log = logging.getLogger(__name__)

Draw = Callable[[Mapping[str, Any], pd.DataFrame], Mapping[str, str]]


@dataclass(frozen=True)
class TrackedRun:
    """A scored run.

    costs: what Snakemake measured of its job, by column of its benchmark table (s, MB, %); empty for a baseline.
    """

    record: RunRecord
    costs: Mapping[str, float]

    @property
    def folder(self) -> str:
        """The folder that holds its files."""
        return str(self.record.folder)

    @property
    def manifest(self) -> Mapping[str, Any]:
        """manifest.json."""
        return self.record.manifest

    @property
    def key(self) -> str:
        """Its cell of the grid: task/protocol/architecture/seed."""
        record = self.record
        return f"{record.task}/{record.protocol}/{record.architecture}/{record.seed}"

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
        text = json.dumps([LAYOUT, self.manifest, self.record.metrics], sort_keys=True)
        return hashlib.sha256((text + self.record.history.to_csv(index=False)).encode()).hexdigest()


def select_tracked(records: Iterable[RunRecord]) -> list[TrackedRun]:
    """Select the scored runs, each with the costs of its job. The log names the others."""
    records = list(records)
    for record in records:
        if record.state is not RunState.SCORED:
            log.warning("%s: %s, not copied: %s", record.folder, record.state, record.reason)
    return [TrackedRun(record, _read_costs(record)) for record in records if record.state is RunState.SCORED]


def _read_costs(record: RunRecord) -> dict[str, float]:
    path = record.root / "benchmarks" / "train" / record.task / record.protocol / record.architecture
    path /= f"{record.seed}.tsv"
    if not path.exists():
        return {}
    measured = pd.to_numeric(pd.read_csv(path, sep="\t").iloc[-1], errors="coerce").dropna()
    return {str(name): float(value) for name, value in measured.items()}


def track_runs(
    uri: str, runs: Iterable[TrackedRun], draw: Draw | None = None, copy_models: bool = False
) -> dict[str, str]:
    """Copy runs into a prepared store, with an experiment per task.

    All runs of an experiment are children of one run that represents the benchmark. A run whose fingerprint changed
    gets a new MLflow run, and a tag on the old one names its successor. Runs that were followed while they trained, but
    never finished, are closed.

    Args:
        uri: address of the store, as tracking.uri in the config.
        runs: the runs to copy.
        draw: from the metrics and the history of a run to SVG text by file name, kept with the run; None draws nothing.
        copy_models: keep model.keras with the run, in addition to its path and sha256.

    Returns:
        The id of each MLflow run, by the run's folder.

    Raises:
        CovbenchError: The store does not answer or refuses.
    """
    with explaining(uri):
        client = open_client(uri)
        tracked: dict[str, str] = {}
        for task, of_task in groupby(sorted(runs, key=lambda run: run.key), key=lambda run: run.record.task):
            experiment = find_experiment(client, task, uri)
            known: dict[str, dict[str, MlflowRun]] = {}
            for found in search_runs(client, experiment):
                known.setdefault(found.data.tags[RUN_TAG], {})[found.data.tags.get(FINGERPRINT_TAG, "")] = found
            finished = list(of_task)
            parent = _track_parent(client, experiment, known.get(task, {}), task, finished)
            for run in finished:
                tracked[run.folder] = _track_run(
                    client, experiment, known.get(run.key, {}), run, draw, parent, copy_models
                )
            save_view(client, experiment, TASKS[task].kind)
            _close_unfinished(client, known, set(tracked.values()))
        return tracked


def _track_parent(
    client: MlflowClient, experiment: str, known: Mapping[str, MlflowRun], task: str, runs: list[TrackedRun]
) -> str:
    """Find or create the run that represents the benchmark on a task, and return its id. It spans all other runs."""
    start, end = min(run.started_ms for run in runs), max(run.finished_ms for run in runs)
    parent = known.get("")
    if parent is None:
        parent = client.create_run(experiment, start_time=start, tags={RUN_TAG: task}, run_name=f"benchmark of {task}")
    if parent.info.end_time != end:
        client.set_terminated(parent.info.run_id, "FINISHED", end_time=end)
    return parent.info.run_id


def _close_unfinished(client: MlflowClient, known: Mapping[str, Mapping[str, MlflowRun]], tracked: set[str]) -> None:
    """End runs that trained in this folder and never finished. Nothing trains in it now."""
    here = show_path(Path.cwd())
    for found in (found for of_cell in known.values() for found in of_cell.values()):
        mine = found.data.tags.get(FOLDER_TAG) == here
        if mine and found.info.status == "RUNNING" and found.info.run_id not in tracked:
            log.warning("%s: trained under another plan and never finished; closed", found.info.run_name)
            client.set_terminated(found.info.run_id, "KILLED")


def _track_run(
    client: MlflowClient,
    experiment: str,
    known: Mapping[str, MlflowRun],
    run: TrackedRun,
    draw: Draw | None,
    parent: str,
    copy_models: bool,
) -> str:
    fingerprint, digest = run.manifest["fingerprint"], run.digest()
    found = known.get(fingerprint)
    if found is None:
        tags = {RUN_TAG: run.key, FINGERPRINT_TAG: fingerprint}
        name = run.key.split("/", 1)[1]
        found = client.create_run(experiment, start_time=run.started_ms, tags=tags, run_name=name)
        log.info("%s: new in MLflow, run %s", run.folder, found.info.run_id)
    if found.data.tags.get(SENT_TAG) != digest:
        client.set_tag(found.info.run_id, PARENT_TAG, parent)
        _send(client, found, run, draw, copy_models)
        client.set_tag(found.info.run_id, SENT_TAG, digest)
    _mark_superseded(client, found, [other for other in known.values() if other is not found])
    return found.info.run_id


def _send(client: MlflowClient, found: MlflowRun, run: TrackedRun, draw: Draw | None, copy_models: bool) -> None:
    """Send the parts of a run that MLflow does not hold yet, and all its files."""
    from mlflow.entities import Param, RunTag

    run_id = found.info.run_id
    params = {**asdict(run.record.run), **run.manifest["options"]}
    new = [Param(name, str(value)) for name, value in params.items() if name not in found.data.params]
    known = {name: run.manifest[name] for name in FACTS if run.manifest.get(name) is not None}
    tags = {"protocol": run.record.protocol, **known, **_name_model(run)}
    client.log_batch(run_id, params=new, tags=[RunTag(f"covbench.{name}", str(value)) for name, value in tags.items()])
    client.log_inputs(run_id, datasets=[_describe_data(run)])
    points = [*_new_epochs(client, found, run), *_new_scores(found, run)]
    for first in range(0, len(points), BATCH):
        client.log_batch(run_id, metrics=points[first : first + BATCH])
    for name in (
        "manifest.json",
        "metrics.json",
        *(["model.keras"] if copy_models and _model_of(run).exists() else []),
    ):
        client.log_artifact(run_id, f"{run.folder}/{name}")
    for name, text in (draw(run.record.metrics, run.record.history) if draw else {}).items():
        client.log_text(run_id, text, f"figures/{name}")
    client.set_terminated(run_id, "FINISHED", end_time=run.finished_ms)


def _model_of(run: TrackedRun) -> Path:
    return Path(run.folder, "model.keras")


def _name_model(run: TrackedRun) -> dict[str, str]:
    """Return the path of the trained network and its sha256; empty for a baseline."""
    path = _model_of(run)
    return {"model": show_path(path.resolve()), "model_sha256": hash_file(path)} if path.exists() else {}


def _describe_data(run: TrackedRun) -> DatasetInput:
    """Describe the images of a run as MLflow's dataset. The digest covers the images, their masks and the split."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    task = run.record.task
    files = {name: value for name, value in run.manifest["inputs"]["files"].items() if name != "weights"}
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
    described = Dataset(dataset_of(task), digest, "local", json.dumps({"uri": f"data/prepared/{task}"}))
    return DatasetInput(described, [InputTag("mlflow.data.context", f"{run.record.protocol} split")])


def _new_epochs(client: MlflowClient, found: MlflowRun, run: TrackedRun) -> Iterator[Metric]:
    """Yield the points of the learning curves that MLflow does not hold, as `epoch/…` with the epoch as step."""
    from mlflow.entities import Metric

    if run.record.history.empty:
        return
    ends = run.started_ms + (1000 * run.record.history["seconds"].cumsum()).round().astype("int64")
    for column in run.record.history.select_dtypes("number").columns.drop("epoch"):
        key = f"epoch/{column}"
        held = client.get_metric_history(found.info.run_id, key) if key in found.data.metrics else []
        steps = {point.step for point in held}
        for epoch, value, end in zip(run.record.history["epoch"], run.record.history[column], ends, strict=True):
            if epoch not in steps:
                yield Metric(key, float(value), int(end), int(epoch))


def _new_scores(found: MlflowRun, run: TrackedRun) -> Iterator[Metric]:
    """Yield the final scores and costs that MLflow lacks or holds with another value. Undefined ones are left out."""
    from mlflow.entities import Metric

    for key, value in list_scores(run).items():
        held = found.data.metrics.get(key)
        if held is None:
            yield Metric(key, value, run.finished_ms, 0)
        elif not math.isclose(held, value, rel_tol=1e-12):
            yield Metric(key, value, round(time.time() * 1000), 0)


def list_scores(run: TrackedRun) -> dict[str, float]:
    """List the defined scores, as `test/accuracy` and `test/covid/recall`, and the costs, as `run/seconds`."""
    scores = {f"test/{name}": value for name, value in run.record.metrics["metrics"].items()}
    for label, of_class in run.record.metrics["per_class"].items():
        scores.update({f"test/{label}/{name}": value for name, value in of_class.items()})
    for name in ("seconds", "energy_kwh", "peak_memory_mb", "parameters", "epochs_run", "best_epoch"):
        scores[f"run/{name}"] = run.manifest.get(name)
    scores.update({f"system/job/{name}": value for name, value in run.costs.items()})
    return {name: float(value) for name, value in scores.items() if value is not None}


def _mark_superseded(client: MlflowClient, current: MlflowRun, others: Iterable[MlflowRun]) -> None:
    run_id = current.info.run_id
    if SUPERSEDED_TAG in current.data.tags:
        client.delete_tag(run_id, SUPERSEDED_TAG)
    for other in others:
        if other.data.tags.get(SUPERSEDED_TAG) != run_id:
            client.set_tag(other.info.run_id, SUPERSEDED_TAG, run_id)
