"""Serve a benchmark's runs in MLflow's pages to those who know the password, from one folder of artifacts."""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote, urlsplit

from covbench.operations.mlflow.store import ENVIRONMENT, SQLITE, artifact_folder, explaining
from covbench.operations.mlflow.views import list_views, require_store
from covbench.schema import CovbenchError
from covbench.system.files import write_whole
from covbench.system.ownership import make_own_folder, require_unshared

HELP = """\
Serve the runs of a benchmark in MLflow's pages on this machine, behind a password. `make mlflow` calls it.

The first start makes the password, shows it, and keeps it in a folder of results/ that only you can read. Without it,
nobody reads a run or a file, or changes one. The store is migrated to this version of MLflow first. Ctrl-C ends it.
"""
EXAMPLES = """\
examples:
  covbench mlflow                              the benchmark in this folder
  covbench mlflow demo/results --port 5001     the demo, if another program has the port 5000
"""

HOST = "127.0.0.1"
USER = "covbench"
LOGINS = "mlflow-login"
"""Folder beside the store, with a folder per user who serves it: his password, and MLflow's table of accounts."""
SETTINGS = f"""\
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = {SQLITE}accounts.db
admin_username = {USER}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""
STORED_FILES = (
    "SELECT artifact_uri FROM runs",
    "SELECT artifact_location FROM logged_models",
    "SELECT source FROM model_versions",
    "SELECT storage_location FROM model_versions",
)
"""What names a folder that the server reads files from."""


@dataclass(frozen=True)
class Login:
    """The folder of a user's password and accounts, the password, and whether it has just been made."""

    folder: Path
    password: str
    new: bool


def serve(results: Path, port: int) -> NoReturn:
    """Serve the runs of `results`/mlflow.db. This process becomes MLflow's server.

    Args:
        results: The folder results/ of a benchmark.
        port: Of this machine's own address 127.0.0.1.

    Raises:
        CovbenchError: There is no store, the port is taken, or somebody else could change what is served.
    """
    database = results / "mlflow.db"
    uri = f"{SQLITE}{database}"
    require_store(uri)
    require_contained(database)
    login = prepare_login(results)
    require_free(port)
    server = f"http://{HOST}:{port}"
    with explaining(uri):
        views = list_views(uri, server)
    print("\n".join(views) or f"{database} holds no task yet: run the benchmark first")
    kept = login.folder / "password"
    print(f"\n{server}  user: {USER}  password: {f'{login.password}  kept in {kept}' if login.new else f'in {kept}'}")
    sys.stdout.flush()
    os.chdir(login.folder)
    os.execve(sys.executable, build_command(port), {**os.environ, **build_environment(login)})


def build_command(port: int) -> list[str]:
    """Build the command of MLflow's server. It runs in a login's folder, so that no path is part of an address."""
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
    command += ["--host", HOST, "--port", str(port), "--backend-store-uri", f"{SQLITE}../../mlflow.db"]
    return [*command, "--artifacts-destination", "../../mlartifacts"]


def build_environment(login: Login) -> dict[str, str]:
    """Build what the server's environment has beside that of the user."""
    return {
        **ENVIRONMENT,
        "MLFLOW_AUTH_CONFIG_PATH": str(login.folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": login.password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "PYTHONSAFEPATH": "1",
        "TMPDIR": str(login.folder),  # MLflow's locks in /tmp have names that anybody can take
    }


def prepare_login(results: Path) -> Login:
    """Find this user's password, or make one. `results` is the folder that holds mlflow.db.

    Raises CovbenchError if somebody else could have put the folder there, or can read it.
    """
    (results / LOGINS).mkdir(exist_ok=True)
    folder = results.resolve() / LOGINS / str(os.getuid())
    make_own_folder(folder)
    kept = folder / "password"
    new = not kept.exists()
    if new and (folder / "accounts.db").exists():
        raise CovbenchError(f"{kept}: missing; remove {folder} to get a new password")
    if new:
        _write_private(kept, secrets.token_urlsafe(18) + "\n")
    _write_private(folder / "auth.ini", SETTINGS)
    return Login(folder, kept.read_text(encoding="utf-8").strip(), new)


def _write_private(path: Path, text: str) -> None:
    with write_whole(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(text, encoding="utf-8")


def require_free(port: int) -> None:
    """Raise CovbenchError if a program listens on the port: it may be somebody else's, and would hear the password."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise CovbenchError(
                f"{HOST}:{port}: in use, maybe by another user; choose another port: make mlflow PORT={port + 1}"
            ) from error


def require_contained(database: Path) -> None:
    """Check that the server will read files from the folder mlartifacts beside the store only.

    Args:
        database: The file of the store, prepared.

    Raises:
        CovbenchError: A stranger may write to the store or the folder, a link lies in the folder, or an entry of the
            store names files elsewhere that exist.
    """
    folder = artifact_folder(database).resolve()
    for path in (database.parent, database, *([folder] if folder.exists() else [])):
        require_unshared(path)
    link = next(_find_links(folder), None)
    if link:
        raise CovbenchError(f"{link}: a link, which could lead MLflow to any file of yours; remove it")
    for found in _list_stored(database):
        path = Path(unquote(urlsplit(found).path)) if found.startswith("file:") else Path(found)
        if not path.resolve().is_relative_to(folder) and path.exists():
            raise CovbenchError(
                f"{database}: an entry names files outside {folder}: {path}; move {database} away and fill a new one: "
                "snakemake track --forcerun track --cores 1"
            )


def _find_links(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        yield from (path for name in (*folders, *files) if (path := Path(parent, name)).is_symlink())


def _list_stored(database: Path) -> Iterator[str]:
    """List the local folders and files that the store's entries name."""
    with closing(sqlite3.connect(database)) as connection:
        for query in STORED_FILES:
            for (found,) in connection.execute(query):
                if found and (found.startswith(("file:", "/")) or ":" not in found):
                    yield found
