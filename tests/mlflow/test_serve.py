"""`covbench mlflow` with MLflow's real server: what its owner sees with the password, and a stranger without."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from covbench.operations.mlflow.finished_runs import track_runs
from covbench.operations.mlflow.store import prepare_store
from tests.mlflow.conftest import free_port
from tests.mlflow.test_server import finished_run

pytestmark = pytest.mark.slow

API = "/api/2.0/mlflow"
RUN = "RUN"  # stands for the id of a run in the requests below


@dataclass(frozen=True)
class Served:
    """A benchmark whose runs are served."""

    address: str
    results: Path
    run: str
    printed: str

    @property
    def password(self) -> str:
        return (self.results / "mlflow-login" / str(os.getuid()) / "password").read_text().strip()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("l'une \"et\" l'autre :x")
    uri = f"sqlite:///{folder}/results/mlflow.db"
    prepare_store(uri)
    (run,) = track_runs(uri, [finished_run(folder, "covid_ct")]).values()
    port = free_port()
    command = [sys.executable, "-m", "covbench.cli", "mlflow", "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 300
        while ask(f"{address}/health") != 200:
            assert process.poll() is None, (folder / "log").read_text()[-3000:]
            assert time.monotonic() < until, (folder / "log").read_text()[-3000:]
            time.sleep(0.5)
        yield Served(address, folder / "results", run, (folder / "log").read_text())
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(url: str, body: object = None, password: str = "") -> int:
    """The status of an answer; 0 if there is none."""
    asked = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    asked.add_header("Content-Type", "application/json")
    if password:
        asked.add_header("Authorization", "Basic " + base64.b64encode(f"covbench:{password}".encode()).decode())
    try:
        return int(urllib.request.urlopen(asked, timeout=60).status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


REQUESTS = {
    "read a run": (f"{API}/runs/get?run_id={RUN}", None),
    "search the runs": (f"{API}/runs/search", {"experiment_ids": ["1"]}),
    "delete a run": (f"{API}/runs/delete", {"run_id": RUN}),
    "change a run": (f"{API}/runs/set-tag", {"run_id": RUN, "key": "a", "value": "b"}),
    "log a metric": (f"{API}/runs/log-metric", {"run_id": RUN, "key": "a", "value": 1, "timestamp": 0}),
    "make an experiment of any files": (f"{API}/experiments/create", {"name": "a", "artifact_location": "file:///etc"}),
    "delete an experiment": (f"{API}/experiments/delete", {"experiment_id": "1"}),
    "make an account": (f"{API}/users/create", {"username": "me", "password": "a long password"}),
    "register a model of any files": (f"{API}/model-versions/create", {"name": "a", "source": "/etc"}),
    "read a file": (f"/get-artifact?path=metrics.json&run_uuid={RUN}", None),
    "list the files": (f"{API}/artifacts/list?run_id={RUN}", None),
    "read the folder of the artifacts": ("/api/2.0/mlflow-artifacts/artifacts", None),
    "ask in GraphQL": (
        "/graphql",
        {"query": f'{{ mlflowGetRun(input: {{runId: "{RUN}"}}) {{ run {{ info {{ runId }} }} }} }}'},
    ),
    "search as the pages do": ("/ajax-api/2.0/mlflow/runs/search", {"experiment_ids": ["1"]}),
    "see the pages": ("/", None),
}
GUESSES = {"no password": "", "MLflow's old password": "password", "the user's name": "covbench"}


@pytest.mark.parametrize(("path", "body"), REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("password", GUESSES.values(), ids=GUESSES)
def test_a_stranger_reads_and_changes_nothing(served: Served, path: str, body: object, password: str) -> None:
    filled = json.loads(json.dumps(body).replace(RUN, served.run))
    assert ask(served.address + path.replace(RUN, served.run), filled, password) == 401


def test_the_owner_reads_runs_and_their_files_with_the_password_that_was_shown_once(served: Served) -> None:
    assert f"password: {served.password}" in served.printed
    for path in (f"{API}/runs/get?run_id={served.run}", f"/get-artifact?path=metrics.json&run_uuid={served.run}", "/"):
        assert ask(served.address + path, password=served.password) == 200


def test_files_outside_the_folder_of_artifacts_are_not_served_to_the_owner_either(served: Served) -> None:
    for path in ("../../../../../etc/passwd", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd"):
        found = f"{served.address}/get-artifact?path={path}&run_uuid={served.run}"
        assert ask(found, password=served.password) == 400
