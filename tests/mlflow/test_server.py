"""Runs that train beside a real MLflow server on a real PostgreSQL: up, down, slow and restarted."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import psycopg2
import pytest
from mlflow import MlflowClient

from covbench.operations.mlflow.finished_runs import select_tracked, track_runs
from covbench.operations.mlflow.store import prepare_store
from covbench.schema import CovbenchError
from tests.mlflow.conftest import Server, free_port
from tests.run_records import leave_run

pytestmark = pytest.mark.slow

EPOCHS = 6
TRAIN = """
import logging, sys, time
import pandas as pd
from covbench.schema import Run
from covbench.operations.mlflow.live import follow_run
uri, task, seed, epochs, seconds = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
logging.basicConfig()
with follow_run({"uri": uri, "live": True}, Run(task, "audited", "vgg16", seed), f"{seed:064d}") as show:
    for epoch in range(epochs):
        time.sleep(seconds)
        print(epoch, flush=True)
        losses = [1 / (1 + before) for before in range(epoch + 1)]
        show(pd.DataFrame({"epoch": range(epoch + 1), "phase": "head", "loss": losses}))
"""
"""A training that computes nothing: an epoch of so many seconds after the other."""


def train(folder: Path, uri: str, task: str, seed: int = 0, epochs: int = EPOCHS, seconds: int = 1) -> subprocess.Popen:
    command = [sys.executable, "-c", TRAIN, uri, task, *map(str, (seed, epochs, seconds))]
    with (folder / "train.log").open("a") as log:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, cwd=folder, text=True, start_new_session=True
        )


def time_of(process: subprocess.Popen) -> float:
    """Seconds from now to its end."""
    started = time.monotonic()
    assert process.wait(timeout=120) == 0
    return time.monotonic() - started


def finished_run(folder: Path, task: str, seed: int = 0, epochs: int = EPOCHS):
    """The files of that training as a run leaves them."""
    run = {"task": task, "protocol": "audited", "architecture": "vgg16", "seed": seed}
    manifest = {"run": run, "options": {"size": 224}, "fingerprint": f"{seed:064d}", "seconds": 10.0}
    manifest |= {"finished": "2025-01-01T12:00:00+00:00", "inputs": {"files": {"images": "e", "split": "f"}}}
    metrics = {"metrics": {"accuracy": 0.75}, "per_class": {}, "confusion": [[1]], "classes": ["covid"]}
    losses = [1 / (1 + epoch) for epoch in range(epochs)]
    history = pd.DataFrame({"epoch": range(epochs), "phase": "head", "loss": losses, "seconds": 1.0})
    return select_tracked([leave_run(folder, manifest, metrics, history)])[0]


def trained(uri: str, task: str):
    """The runs of trainings that MLflow holds."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(task)
    return [run for run in client.search_runs([experiment.experiment_id]) if run.info.run_name.startswith("audited")]


def steps(uri: str, run) -> list[int]:
    return sorted(point.step for point in MlflowClient(uri).get_metric_history(run.info.run_id, "epoch/loss"))


def assert_whole(uri: str, task: str, seeds: int = 1, epochs: int = EPOCHS) -> None:
    """Every run is there once, finished, and each epoch in it once."""
    runs = trained(uri, task)
    assert Counter(run.info.run_name for run in runs) == {f"audited/vgg16/{seed}": 1 for seed in range(seeds)}
    for run in runs:
        assert run.info.status == "FINISHED"
        assert steps(uri, run) == list(range(epochs))


def wait_for(condition, seconds: float = 180):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.2)
    return found


def test_epochs_arrive_while_the_run_trains_and_track_adopts_it(server: Server, tmp_path: Path) -> None:
    process = train(tmp_path, server.uri, "covid_ct", epochs=30)
    client = MlflowClient(server.uri)
    wait_for(lambda: client.get_experiment_by_name("covid_ct"))
    running = wait_for(lambda: trained(server.uri, "covid_ct"))[0]
    wait_for(lambda: steps(server.uri, running))
    assert process.poll() is None
    assert trained(server.uri, "covid_ct")[0].info.status == "RUNNING"
    time_of(process)
    after = trained(server.uri, "covid_ct")[0]
    assert steps(server.uri, after) == list(range(30))
    assert any(name.startswith("system/cpu") for name in after.data.metrics)
    run = finished_run(tmp_path, "covid_ct", epochs=30)
    assert track_runs(server.uri, [run]) == {run.folder: running.info.run_id}
    assert_whole(server.uri, "covid_ct", epochs=30)


def test_repeated_track_changes_no_row_of_postgresql(server: Server, postgres: str, tmp_path: Path) -> None:
    runs = [finished_run(tmp_path, "radiography", seed) for seed in range(3)]
    track_runs(server.uri, runs)

    def rows() -> dict[str, list]:
        with psycopg2.connect(postgres) as database, database.cursor() as cursor:
            found = {}
            for table in ("runs", "params", "metrics", "latest_metrics", "tags", "inputs", "datasets"):
                cursor.execute(f"select t::text from {table} t order by 1")
                found[table] = cursor.fetchall()
            return found

    before = rows()
    track_runs(server.uri, runs)
    assert rows() == before
    assert_whole(server.uri, "radiography", seeds=3)


@pytest.mark.parametrize("trouble", ["down", "slow"])
def test_a_server_that_does_not_answer_costs_a_training_seconds(tmp_path: Path, trouble: str) -> None:
    port = free_port()
    with socket.socket() as silent:  # takes connections, and never says a word
        if trouble == "slow":
            silent.bind(("127.0.0.1", port))
            silent.listen(50)
        spent = time_of(train(tmp_path, f"http://127.0.0.1:{port}", "covid_ct", epochs=20))
    assert spent - 20 < 15
    said = "MLflow does not show 20 of 20 epochs yet; rule track will copy them"
    assert said in (tmp_path / "train.log").read_text()


def test_a_server_that_answers_late_loses_nothing(server: Server, tmp_path: Path) -> None:
    late = LateProxy(server.port, seconds=0.5)
    uri = f"http://127.0.0.1:{late.port}"
    spent = time_of(train(tmp_path, uri, "sarscov2_ct"))
    assert spent - EPOCHS < 15
    track_runs(server.uri, [finished_run(tmp_path, "sarscov2_ct")])
    assert_whole(server.uri, "sarscov2_ct")


class LateProxy:
    """Passes bytes on to a port of this machine, each answer so many seconds late."""

    def __init__(self, target: int, seconds: float) -> None:
        self.target, self.seconds = target, seconds
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            near, _ = self.listener.accept()
            far = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self.pass_on, args=(near, far, 0), daemon=True).start()
            threading.Thread(target=self.pass_on, args=(far, near, self.seconds), daemon=True).start()

    def pass_on(self, source: socket.socket, sink: socket.socket, seconds: float) -> None:
        try:
            while data := source.recv(65536):
                time.sleep(seconds)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def test_an_epoch_whose_answer_is_lost_is_sent_again_and_held_once(server: Server, tmp_path: Path) -> None:
    with forgetful_proxy(server.port) as (uri, lost):
        time_of(train(tmp_path, uri, "radiography_xray", epochs=20))
    assert len(lost) == 3
    assert "WARNING MLflow: " in (tmp_path / "train.log").read_text()
    assert steps(server.uri, trained(server.uri, "radiography_xray")[0]) == list(range(20))


@contextmanager
def forgetful_proxy(port: int) -> Iterator[tuple[str, list[bytes]]]:
    """Passes requests on to a port of this machine, but hangs up instead of the first three answers about an epoch."""
    lost: list[bytes] = []

    class Forgetful(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            server = http.client.HTTPConnection("127.0.0.1", port)
            server.request(self.command, self.path, body, {"Content-Type": "application/json"})
            answer = server.getresponse()
            text = answer.read()
            if b"epoch/loss" in body and self.path.endswith("/log-batch") and len(lost) < 3:
                lost.append(body)
                self.close_connection = True
                return
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = pass_on

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Forgetful) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_port}", lost
        proxy.shutdown()


def test_a_server_restarted_in_the_middle_has_every_epoch_once(server: Server, tmp_path: Path) -> None:
    process = train(tmp_path, server.uri, "ieee8023_xray", epochs=25)
    client = MlflowClient(server.uri)
    wait_for(lambda: client.get_experiment_by_name("ieee8023_xray"))
    running = wait_for(lambda: trained(server.uri, "ieee8023_xray"))[0]
    wait_for(lambda: steps(server.uri, running))
    server.stop()
    time.sleep(2)
    server.start()
    time_of(process)
    track_runs(server.uri, [finished_run(tmp_path, "ieee8023_xray", epochs=25)])
    assert_whole(server.uri, "ieee8023_xray", epochs=25)


def test_eight_trainings_that_meet_on_a_fresh_database_each_arrive(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/results/mlflow.db"
    trainings = [train(tmp_path, uri, "covid_ct", seed, epochs=60) for seed in range(8)]
    assert [process.wait(timeout=180) for process in trainings] == [0] * 8
    assert {run.info.run_name for run in trained(uri, "covid_ct")} == {f"audited/vgg16/{seed}" for seed in range(8)}
    prepare_store(uri)
    track_runs(uri, [finished_run(tmp_path, "covid_ct", seed, epochs=60) for seed in range(8)])
    assert_whole(uri, "covid_ct", seeds=8, epochs=60)


@pytest.mark.parametrize(
    ("task", "also_its_follower"), [("medseg_multiclass", False), ("zenodo_multiclass", True)], ids=["alone", "both"]
)
def test_a_killed_training_leaves_no_run_running(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, also_its_follower: bool
) -> None:
    process = train(tmp_path, server.uri, task, seed=7, epochs=60)
    client = MlflowClient(server.uri)
    wait_for(lambda: client.get_experiment_by_name(task))
    wait_for(lambda: trained(server.uri, task))
    os.killpg(process.pid, signal.SIGKILL) if also_its_follower else process.kill()
    if also_its_follower:
        assert trained(server.uri, task)[0].info.status == "RUNNING"
        monkeypatch.chdir(tmp_path)
        track_runs(server.uri, [finished_run(tmp_path, task)])
    wait_for(lambda: {run.info.status for run in trained(server.uri, task)} <= {"KILLED", "FINISHED"})


def test_the_server_refuses_names_that_it_was_not_told(server: Server) -> None:
    def ask(host: str) -> int:
        asked = urllib.request.Request(f"{server.uri}/api/2.0/mlflow/experiments/search?max_results=1")
        asked.add_header("Host", host)
        try:
            return urllib.request.urlopen(asked, timeout=10).status
        except urllib.error.HTTPError as error:
            return error.code

    assert ask(f"login1:{server.port}") == 200
    assert ask("elsewhere.example") == 403


def test_a_server_behind_a_password_takes_it_from_the_environment(tmp_path: Path, monkeypatch) -> None:
    guarded = Server(f"sqlite:///{tmp_path}/mlflow.db", tmp_path, "--app-name", "basic-auth")
    settings = tmp_path / "auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{tmp_path}/auth.db\n"
        "admin_username = covbench\nadmin_password = a long password\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    guarded.start(MLFLOW_AUTH_CONFIG_PATH=str(settings), MLFLOW_FLASK_SERVER_SECRET_KEY="for this test")
    try:
        run = finished_run(tmp_path, "covid_ct")
        with pytest.raises(CovbenchError, match="failed"):
            track_runs(guarded.uri, [run])
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "covbench")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a long password")
        track_runs(guarded.uri, [run])
        assert_whole(guarded.uri, "covid_ct")
    finally:
        guarded.stop()
