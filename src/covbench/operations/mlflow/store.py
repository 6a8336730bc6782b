"""Prepare MLflow's store, find its experiments and runs, and explain its failures."""

from __future__ import annotations

import fcntl
import glob
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from covbench.schema import CovbenchError
from covbench.system.addresses import SQLITE, hide_passwords, show_address
from covbench.system.disk import describe_full_disk, require_space
from covbench.system.files import sweep_leftovers

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

SERVERS = ("http://", "https://")
NEW_BYTES = 2 * 10**6  # of a new database and its journal
FULL = ("database or disk is full", "disk I/O error", "No space left on device")
"""What SQLite and the system say of a full disk."""
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # with MLflow's own 7, a server that is down blocks for four minutes
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
RUN_TAG, FINGERPRINT_TAG, FOLDER_TAG = "covbench.run", "covbench.fingerprint", "covbench.folder"


def database_path(uri: str) -> Path:
    """Return the file of a SQLite store. Relative paths start at the working directory."""
    return Path(uri.removeprefix(SQLITE))


def artifact_folder(database: Path) -> Path:
    """Return the folder that holds the artifacts of a SQLite store, as an absolute path."""
    return database.resolve().parent / "mlartifacts"


def show_path(path: Path) -> str:
    """Return a path as text that MLflow can store, whatever bytes its name holds."""
    return os.fsencode(path).decode(errors="backslashreplace")


def require_storable(uri: str) -> None:
    """Raise CovbenchError if MLflow would put the files of a SQLite store into another folder.

    It reads the address of the artifacts as UTF-8, so it cannot name a folder whose name has other bytes.
    """
    if not uri.startswith(SQLITE):
        return
    folder = database_path(uri).resolve().parent
    try:
        os.fsencode(folder).decode()
    except UnicodeDecodeError as error:
        raise CovbenchError(
            f"tracking.uri: MLflow keeps no files below {show_path(folder)}, whose name is not UTF-8; rename it, "
            f"or set tracking.uri to a place elsewhere: {SQLITE}/home/me/mlflow.db"
        ) from error


def prepare_store(uri: str) -> None:
    """Prepare a SQLite store before anything logs: its folder and its tables, migrated to this version of MLflow.

    Without this, several processes could create the tables of an empty file at once and break it. Only one process at a
    time prepares a store. A server prepares its own. Raises CovbenchError if the address is not that of a store, or if
    the file cannot be prepared.
    """
    if uri.startswith(SERVERS):
        return
    if not uri.startswith(SQLITE):
        shown = show_address(uri)
        raise CovbenchError(
            f"tracking.uri: {shown!r} is no store; write {SQLITE}results/mlflow.db or http://server:port"
        )
    require_storable(uri)
    with _lock(database_path(uri)):
        _upgrade(uri) if _is_made(database_path(uri)) else _create(uri)


def prepare_new_store(uri: str) -> None:
    """Prepare a SQLite store as prepare_store does, unless its file exists already."""
    if not uri.startswith(SQLITE):
        return
    with _lock(database_path(uri)):
        if not _is_made(database_path(uri)):
            _create(uri)


def _is_made(database: Path) -> bool:
    """Whether there is a database. An empty file is none: SQLite leaves one where it was stopped at once."""
    return database.is_file() and database.stat().st_size > 0


def _create(uri: str) -> None:
    """Make a new database under another name and rename it. A kill or a full disk leaves none that is broken."""
    database = database_path(uri)
    sweep_leftovers(database.parent, rf"\.(\d+)\.{re.escape(database.name)}(-journal|-wal|-shm)?")
    require_space(database.parent, NEW_BYTES, str(database))
    fresh = database.with_name(f".{os.getpid()}.{database.name}")
    try:
        _upgrade(f"{SQLITE}{fresh}", database)
        os.replace(fresh, database)
    finally:
        for leftover in fresh.parent.glob(f"{glob.escape(fresh.name)}*"):
            leftover.unlink()


@contextmanager
def _lock(database: Path) -> Iterator[None]:
    database.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{database}.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _upgrade(uri: str, shown: Path | None = None) -> None:
    """Bring a store's tables to this version. shown: the file that a message names; that of `uri` if None."""
    database = shown or database_path(uri)
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", uri]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ENVIRONMENT})
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        if any(words in done.stderr for words in FULL):
            raise CovbenchError(describe_full_disk(database.parent, str(database), NEW_BYTES))
        raise CovbenchError(
            f"tracking.uri: {SQLITE}{database} cannot be prepared ({reason}); move {database} away to get a new one"
        )
    _create_default_experiment(database_path(uri))


def _create_default_experiment(database: Path) -> None:
    """Create MLflow's experiment 0, unless it is there already.

    MLflow would create it with the path of the working directory pasted into SQL, which fails for some names: one with
    both kinds of quotes, or with a word after a colon.
    """
    now = round(time.time() * 1000)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "INSERT OR IGNORE INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, "
            "creation_time, last_update_time, workspace) VALUES (0, 'Default', ?, 'active', ?, ?, 'default')",
            (artifact_folder(database).as_uri(), now, now),
        )


@contextmanager
def explaining(uri: str) -> Iterator[None]:
    """Turn an error that MLflow raises inside into a CovbenchError that says what to do."""
    os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        if uri.startswith(SQLITE) and any(words in str(error) for words in FULL):
            raise CovbenchError(describe_full_disk(database_path(uri).parent, str(database_path(uri)))) from error
        shown = show_address(uri)
        reason = hide_passwords(str(error).replace(uri, shown)).splitlines()[0][:300]
        raise CovbenchError(
            f"tracking.uri: {shown} failed: {reason}. Is the server up and the address right? Runs are safe in "
            f"results/; track them again later, or set tracking.uri to {SQLITE}results/mlflow.db"
        ) from error


def open_client(uri: str) -> MlflowClient:
    """Open MLflow's client of a store."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def find_experiment(client: MlflowClient, task: str, uri: str) -> str:
    """Find the experiment of a task, or create it.

    Args:
        client: of the store.
        task: name of the task and of the experiment.
        uri: address of the store. The artifacts of a SQLite store go into the folder `mlartifacts` beside it.

    Returns:
        The id of the experiment.

    Raises:
        CovbenchError: The experiment is in MLflow's bin.
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(task)
    if experiment is None:
        beside = artifact_folder(database_path(uri)) if uri.startswith(SQLITE) else None
        try:
            return client.create_experiment(task, artifact_location=beside.as_uri() if beside else None)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return find_experiment(client, task, uri)
    if experiment.lifecycle_stage == "deleted":
        raise CovbenchError(
            f"tracking.uri: experiment '{task}' of {show_address(uri)} is in MLflow's bin; bring it back with "
            f"`mlflow experiments restore --experiment-id {experiment.experiment_id}`"
        )
    return experiment.experiment_id


def search_runs(client: MlflowClient, experiment: str, filter_string: str = "") -> Iterator[MlflowRun]:
    """Search an experiment for the runs of this benchmark.

    Args:
        client: of the store.
        experiment: id of the experiment.
        filter_string: filter in MLflow's syntax; empty for all runs.

    Yields:
        Each run, from all pages of the answer.
    """
    token = None
    while True:
        page = client.search_runs([experiment], filter_string, max_results=1000, page_token=token)
        yield from (found for found in page if RUN_TAG in found.data.tags)
        token = page.token
        if not token:
            return
