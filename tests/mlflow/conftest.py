"""A real PostgreSQL of Debian and a real MLflow server on it, on free ports, ended with the tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/nowhere"))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a PostgreSQL with the empty database `mlflow`."""
    if not (PROGRAMS / "initdb").exists() or os.getuid() != 0:
        pytest.skip("apt-get install postgresql, and root, which starts it as its own user")
    place = Path("/tmp") / f"covbench-postgres-{os.getpid()}"  # short: the path of a socket has 107 letters at most
    place.mkdir(mode=0o700)
    shutil.chown(place, "postgres", "postgres")
    port = free_port()

    def as_postgres(*words: str | Path) -> None:
        subprocess.run(["runuser", "-u", "postgres", "--", *words], check=True, cwd="/", stdout=subprocess.DEVNULL)

    as_postgres(PROGRAMS / "initdb", "-D", place / "data", "--auth", "trust", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={place} -c fsync=off"
    as_postgres(PROGRAMS / "pg_ctl", "-D", place / "data", "-l", place / "log", "-o", options, "-w", "start")
    as_postgres(PROGRAMS / "createdb", "-h", place, "-p", str(port), "mlflow")
    yield f"postgresql://postgres@127.0.0.1:{port}/mlflow"
    as_postgres(PROGRAMS / "pg_ctl", "-D", place / "data", "-m", "immediate", "stop")
    shutil.rmtree(place)


class Server:
    """`mlflow server` as docs/how-to/mlflow.md starts it; it can be stopped and started again."""

    def __init__(self, database: str, files: Path, *options: str) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        hosts = f"127.0.0.1:{self.port},login1:{self.port}"
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--port", str(self.port)]
        command += ["--artifacts-destination", str(files / "artifacts"), "--allowed-hosts", hosts, "--workers", "1"]
        self.command, self.files = [*command, *options], files

    def start(self, **environment: str) -> None:
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.files / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **quiet, **environment}
            )
        until = time.monotonic() + 90
        while not self.answers():
            assert time.monotonic() < until, (self.files / "server.log").read_text()[-3000:]
            time.sleep(0.3)

    def answers(self) -> bool:
        try:
            return urllib.request.urlopen(f"{self.uri}/health", timeout=2).status == 200
        except OSError:
            return False

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="session")
def server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Server:
    running = Server(postgres, tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    running.stop()
