"""Copies in MLflow, on a real SQLite store: complete, found again, never doubled."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from covbench.experiment.runs import RunState
from covbench.operations.mlflow.finished_runs import TrackedRun, select_tracked, track_runs
from covbench.operations.mlflow.store import prepare_store
from covbench.operations.mlflow.views import list_views
from covbench.reporting.figures.single_run import draw_run
from covbench.schema import CovbenchError
from tests.run_records import leave_run

RUN = {"task": "covid_ct", "protocol": "audited", "architecture": "vgg16", "seed": 0}
MANIFEST = {
    "run": RUN,
    "options": {"size": 224, "head_rate": 0.001, "augmentation": "mild"},
    "fingerprint": "a" * 64,
    "git_commit": "c" * 40,
    "device": "cpu",
    "weights": "none",
    "seconds": 30.0,
    "energy_kwh": 0.0125,
    "peak_memory_mb": 900,
    "parameters": 12345,
    "epochs_run": 3,
    "best_epoch": 1,
    "finished": "2025-01-01T12:00:00+00:00",
    "scheduler_job": "12",
    "inputs": {"files": {"images": "e" * 64, "split": "f" * 64, "weights": "0" * 64}},
}
FINISHED_MS = 1_735_732_800_000  # 2025-01-01 12:00:00 UTC
METRICS = {
    "kind": "classification",
    "classes": ["non_covid", "covid"],
    "metrics": {"accuracy": 0.75, "auroc": None},
    "per_class": {"covid": {"recall": 0.5, "precision": None, "support": 4}},
    "confusion": [[4, 0], [2, 2]],
    "curves": {},
}
HISTORY = pd.DataFrame(
    {
        "epoch": [0, 1, 2],
        "phase": ["head", "head", "fine_tune"],
        "learning_rate": [1e-3, 1e-3, 1e-4],
        "loss": [0.9, 0.6, 0.5],
        "accuracy": [0.5, 0.7, 0.8],
        "val_loss": [0.8, 0.55, 0.6],
        "val_accuracy": [0.5, 0.75, 0.7],
        "seconds": [10.0, 5.0, 5.0],
    }
)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared store, copied by each test; its folder is made, and has a space in its name."""
    path = tmp_path_factory.mktemp("store") / "my results" / "mlflow.db"
    prepare_store(f"sqlite:///{path}")
    return path


@pytest.fixture
def uri(empty_store: Path, tmp_path: Path) -> str:
    path = tmp_path / "my results" / "mlflow.db"
    path.parent.mkdir()
    shutil.copy(empty_store, path)
    return f"sqlite:///{path}"


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., TrackedRun]:
    def write(manifest: dict = MANIFEST, metrics: dict = METRICS, history: pd.DataFrame | None = HISTORY) -> TrackedRun:
        record = leave_run(tmp_path, manifest, metrics, history)
        return select_tracked([record])[0]

    return write


def client_of(uri: str):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def dump(uri: str) -> list[str]:
    with sqlite3.connect(uri.removeprefix("sqlite:///")) as database:
        return list(database.iterdump())


def points(uri: str, run_id: str, key: str) -> list[tuple[int, float]]:
    return sorted((point.step, point.value) for point in client_of(uri).get_metric_history(run_id, key))


def test_a_run_arrives_with_options_curves_scores_and_files(uri: str, write_run) -> None:
    run = write_run()
    tracked = track_runs(uri, [run], draw_run)
    assert list(tracked) == [run.folder]
    run_id = tracked[run.folder]
    client = client_of(uri)
    found = client.get_run(run_id)
    assert found.info.run_name == "audited/vgg16/0"
    assert found.info.status == "FINISHED"
    assert (found.info.start_time, found.info.end_time) == (FINISHED_MS - 30_000, FINISHED_MS)
    assert client.get_experiment(found.info.experiment_id).name == "covid_ct"
    assert found.data.params == {
        **{name: str(value) for name, value in RUN.items()},
        "size": "224",
        "head_rate": "0.001",
        "augmentation": "mild",
    }
    assert points(uri, run_id, "epoch/val_loss") == [(0, 0.8), (1, 0.55), (2, 0.6)]
    assert found.data.metrics["test/accuracy"] == 0.75
    assert found.data.metrics["test/covid/recall"] == 0.5
    assert found.data.metrics["run/parameters"] == 12345
    assert found.data.metrics["run/energy_kwh"] == 0.0125
    tags = {"git_commit": "c" * 40, "protocol": "audited", "fingerprint": "a" * 64, "scheduler_job": "12"}
    assert {name: found.data.tags[f"covbench.{name}"] for name in tags} == tags
    parent = client.get_run(found.data.tags["mlflow.parentRunId"]).info
    assert (parent.run_name, parent.status, parent.end_time) == ("benchmark of covid_ct", "FINISHED", FINISHED_MS)
    assert [data.dataset.name for data in found.inputs.dataset_inputs] == ["covid_ct"]
    assert {file.path for file in client.list_artifacts(run_id)} == {"manifest.json", "metrics.json", "figures"}
    drawn = {file.path for file in client.list_artifacts(run_id, "figures")}
    assert drawn == {"figures/confusion.svg", "figures/learning.svg"}
    stored = Path(client.download_artifacts(run_id, "metrics.json"))
    assert json.loads(stored.read_text()) == METRICS
    assert (Path(uri.removeprefix("sqlite:///")).parent / "mlartifacts" / run_id).is_dir()


def test_a_comparison_is_saved_with_the_task_and_its_address_is_told(uri: str, write_run) -> None:
    track_runs(uri, [write_run()])
    experiment = client_of(uri).get_experiment_by_name("covid_ct")
    assert json.loads(experiment.tags["mlflow.sharedViewState.comparison"])["orderByKey"] == "metrics.`test/auroc`"
    (line,) = list_views(uri, "http://here")
    assert line.split() == [
        "covid_ct",
        f"http://here/#/experiments/{experiment.experiment_id}/runs?viewStateShareKey=comparison",
    ]


def test_an_epoch_is_dated_at_its_end(uri: str, write_run) -> None:
    run = write_run()
    run_id = track_runs(uri, [run])[run.folder]
    dates = {point.step: point.timestamp for point in client_of(uri).get_metric_history(run_id, "epoch/loss")}
    assert dates == {0: FINISHED_MS - 20_000, 1: FINISHED_MS - 15_000, 2: FINISHED_MS - 10_000}


def test_an_undefined_score_is_left_out_rather_than_sent_as_nought(uri: str, write_run) -> None:
    run = write_run()
    run_id = track_runs(uri, [run])[run.folder]
    sent = client_of(uri).get_run(run_id).data.metrics
    assert "test/auroc" not in sent
    assert "test/covid/precision" not in sent


def test_repeating_changes_not_one_row_of_the_store(uri: str, write_run) -> None:
    runs = [write_run(), write_run({**MANIFEST, "run": {**RUN, "architecture": "majority"}}, history=None)]
    first = track_runs(uri, runs, draw_run)
    before = dump(uri)
    assert track_runs(uri, runs, draw_run) == first
    assert dump(uri) == before


def test_a_copy_cut_short_is_completed_without_doubling(uri: str, write_run) -> None:
    """The first attempt dies after the metrics, as a killed job does; the second brings the rest and one more epoch."""

    def die(metrics, history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track_runs(uri, [write_run(history=HISTORY.iloc[:2])], die)
    run = write_run()
    run_id = track_runs(uri, [run])[run.folder]
    client = client_of(uri)
    found = client.search_runs([client.get_experiment_by_name("covid_ct").experiment_id])
    assert sorted(run.info.run_name for run in found) == ["audited/vgg16/0", "benchmark of covid_ct"]
    assert points(uri, run_id, "epoch/loss") == [(0, 0.9), (1, 0.6), (2, 0.5)]
    assert points(uri, run_id, "test/accuracy") == [(0, 0.75)]
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_new_fingerprint_gets_a_new_run_and_the_old_one_names_its_successor(uri: str, write_run) -> None:
    old = write_run()
    old_id = track_runs(uri, [old])[old.folder]
    new = write_run({**MANIFEST, "fingerprint": "b" * 64, "options": {**MANIFEST["options"], "size": 96}})
    new_id = track_runs(uri, [new])[new.folder]
    assert new_id != old_id
    client = client_of(uri)
    assert client.get_run(old_id).data.tags["covbench.superseded_by"] == new_id
    assert client.get_run(old_id).data.params["size"] == "224"
    assert client.get_run(new_id).data.params["size"] == "96"
    assert track_runs(uri, [old]) == {old.folder: old_id}
    assert client.get_run(new_id).data.tags["covbench.superseded_by"] == old_id
    assert "covbench.superseded_by" not in client.get_run(old_id).data.tags


def test_runs_scored_anew_show_the_new_score(uri: str, write_run) -> None:
    run = write_run()
    run_id = track_runs(uri, [run])[run.folder]
    again = write_run(metrics={**METRICS, "metrics": {"accuracy": 0.625, "auroc": 0.5}})
    assert track_runs(uri, [again]) == {run.folder: run_id}
    client = client_of(uri)
    latest = client.get_run(run_id).data.metrics
    assert (latest["test/accuracy"], latest["test/auroc"]) == (0.625, 0.5)
    assert points(uri, run_id, "test/covid/recall") == [(0, 0.5)]
    assert json.loads(Path(client.download_artifacts(run_id, "metrics.json")).read_text())["metrics"]["auroc"] == 0.5


def test_a_baseline_without_learning_curves_is_tracked(uri: str, write_run) -> None:
    baseline = write_run({**MANIFEST, "run": {**RUN, "architecture": "majority"}, "options": {}}, history=None)
    assert baseline.record.history.empty
    run_id = track_runs(uri, [baseline], draw_run)[baseline.folder]
    assert not [key for key in client_of(uri).get_run(run_id).data.metrics if key.startswith("epoch/")]


def test_only_scored_runs_are_copied_and_the_others_are_named_with_their_reason(write_run, caplog) -> None:
    scored = write_run().record
    stale = replace(scored, state=RunState.STALE, reason="batch_size 7 (planned 32)")
    assert [run.record for run in select_tracked([stale, scored])] == [scored]
    assert "vgg16/0: stale, not copied: batch_size 7 (planned 32)" in caplog.text


def test_accepted_edits_arrive_with_the_manifest_in_the_same_run(uri: str, write_run) -> None:
    run = write_run()
    run_id = track_runs(uri, [run])[run.folder]
    accepted = write_run({**MANIFEST, "accepted": [{"when": "2026-01-02", "because": "a comment", "differences": []}]})
    assert track_runs(uri, [accepted]) == {run.folder: run_id}
    stored = json.loads(Path(client_of(uri).download_artifacts(run_id, "manifest.json")).read_text())
    assert stored["accepted"][0]["because"] == "a comment"


def test_each_task_has_one_experiment(uri: str, write_run) -> None:
    one = write_run()
    other = write_run({**MANIFEST, "run": {**RUN, "task": "radiography"}})
    third = write_run({**MANIFEST, "run": {**RUN, "seed": 1}, "fingerprint": "d" * 64})
    track_runs(uri, [one, other, third])
    experiments = client_of(uri).search_experiments()
    assert sorted(found.name for found in experiments) == ["Default", "covid_ct", "radiography"]


def test_an_experiment_in_the_bin_is_named_with_the_command_that_restores_it(uri: str, write_run) -> None:
    run = write_run()
    track_runs(uri, [run])
    client = client_of(uri)
    client.delete_experiment(client.get_experiment_by_name("covid_ct").experiment_id)
    with pytest.raises(CovbenchError, match=r"'covid_ct'.*mlflow experiments restore"):
        track_runs(uri, [run])


def test_a_server_that_is_down_is_an_error_within_a_minute(write_run) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    with pytest.raises(CovbenchError, match=rf"tracking.uri: http://127.0.0.1:{port} failed: .*server up"):
        track_runs(f"http://127.0.0.1:{port}", [write_run()])
    assert time.monotonic() - started < 60


def test_the_network_is_named_with_its_hash_or_copied_as_asked(uri: str, write_run) -> None:
    run = write_run()
    path = Path(run.folder, "model.keras")
    path.write_bytes(b"weights")
    client = client_of(uri)
    run_id = track_runs(uri, [run])[run.folder]
    tags = client.get_run(run_id).data.tags
    assert tags["covbench.model"] == str(path)
    assert tags["covbench.model_sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert "model.keras" not in {file.path for file in client.list_artifacts(run_id)}
    other = write_run({**MANIFEST, "fingerprint": "b" * 64})
    run_id = track_runs(uri, [other], copy_models=True)[other.folder]
    assert Path(client.download_artifacts(run_id, "model.keras")).read_bytes() == b"weights"


@pytest.mark.parametrize("uri", ["results/mlruns", "file:///tmp/mlruns", "mlflow.db"])
def test_a_store_that_mlflow_cannot_use_is_refused(uri: str) -> None:
    with pytest.raises(CovbenchError, match=r"tracking.uri: .* is no store; write sqlite:///results/mlflow.db"):
        prepare_store(uri)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("not a database, but a text of more than sixteen bytes")
    with pytest.raises(CovbenchError, match=rf"cannot be prepared .*move {path} away"):
        prepare_store(f"sqlite:///{path}")


def test_preparing_again_keeps_what_is_stored(uri: str, write_run) -> None:
    track_runs(uri, [write_run()])
    before = dump(uri)
    prepare_store(uri)
    assert dump(uri) == before
