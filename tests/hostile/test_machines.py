"""Addresses with passwords, folders with hard names, and what other users of a machine leave in the way."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from covbench.experiment.config import check_config
from covbench.operations.doctor import check_dvc, check_mlflow
from covbench.operations.mlflow.finished_runs import select_tracked, track_runs
from covbench.operations.mlflow.server import prepare_login, require_contained, require_free
from covbench.operations.mlflow.store import explaining, prepare_store, require_storable
from covbench.schema import CovbenchError
from covbench.system.addresses import show_address
from covbench.system.snakemake_fixes import require_usable_path
from tests.other_users import as_others
from tests.run_records import leave_run

CONFIG = {"tasks": ["covid_ct"], "architectures": {"classification": ["vgg16"]}}
SECRETS = ("me:", "s3", "cret")
"""Parts of the user and the password below. No message may show one."""
ADDRESSES = {
    "http://me:s3cret@host:5000": "http://…@host:5000",
    "HTTPS://me:s3cret@host": "HTTPS://…@host",
    "http://me:s3/cret@host": "http://…@host",
    "http://me:/s3/cret/@host/mlflow": "http://…@host/mlflow",
    "http://me:s3@cret@host": "http://…@host",
    "http://me:s3%2Fcret@host": "http://…@host",
    "http://me:s3%40cret@host": "http://…@host",
    "http://me:s3cret%40host": "http://…@host",
    "http://me:s3cret%2540host": "http://…@host",
    "http://me:s3?cret@host": "http://…@host",
    "http://me:s3#cret@host": "http://…@host",
    "http://me:s3 cret@host": "http://…@host",
    "http://me:s3\ncret@host": "http://…@host",
    "http://me:s3\\cret@[::1]:5000": "http://…@[::1]:5000",
    "http://me:s3cret": "http://…",
    "http://s3cret@": "http://…@…",
    "http://host:5000/?token=s3cret": "http://host:5000/?…",
    "http://host:5000#s3cret": "http://host:5000?…",
    "http://host;password=s3cret": "http://host?…",
    "http://host/me:s3cret": "http://…",
    "http:/me:s3cret@host": "http:/…@host",
    "http:me:s3cret@host": "…@host",
    "me:s3/cret@host:5000": "…@host:5000",
    "postgresql://me:s3/cret@host/db": "postgresql://…@host/db",
    "postgresql:///db?user=me&password=s3cret": "postgresql:///db?…",
    "mysql+pymysql://me:s3cret@host/db": "mysql+pymysql://…@host/db",
    "sqlite:///results/mlflow.db?key=s3cret": "sqlite:///results/mlflow.db?…",
}
"""Address that somebody writes as tracking.uri -> what a message may show of it."""


@pytest.mark.parametrize(("address", "shown"), ADDRESSES.items(), ids=map(repr, ADDRESSES))
def test_an_address_with_a_secret_is_refused_and_the_secret_is_shown_nowhere(address: str, shown: str) -> None:
    assert show_address(address) == shown
    with pytest.raises(CovbenchError, match=r"tracking\.uri: .*MLFLOW_TRACKING_PASSWORD") as refused:
        check_config(CONFIG | {"tracking": {"uri": address}})
    said = [str(refused.value)]
    for misplaced in ({"tracking": address}, {"tracking": {"uri": [address]}}, {"tasks": address}):
        with pytest.raises(CovbenchError) as wrong_type:
            check_config(CONFIG | misplaced)
        said.append(str(wrong_type.value))
    if not address.lower().startswith(("sqlite", "http://", "https://")):
        with pytest.raises(CovbenchError) as no_store:
            prepare_store(address)
        said.append(str(no_store.value))
    for words in said:
        assert [part for part in SECRETS if part in words.replace("metrics", "")] == []


PLAIN_ADDRESSES = [
    "sqlite:///results/mlflow.db",
    "sqlite:////scratch/o'brien@home: 1/mlflow.db",
    "http://login1:5000",
    "https://mlflow.example.org/lungs/",
    "http://[fe80::1]:5000",
    "http://10.0.0.7",
]


@pytest.mark.parametrize("address", PLAIN_ADDRESSES)
def test_an_address_without_a_secret_is_taken_and_shown_as_it_is(address: str) -> None:
    assert check_config(CONFIG | {"tracking": {"uri": address}})["tracking"]["uri"] == address
    assert show_address(address) == address


def test_the_doctor_shows_no_password_of_a_server_that_does_not_answer(tmp_path: Path) -> None:
    (found,) = check_mlflow("http://me:s3/cret@127.0.0.1:9", tmp_path)
    assert found.message.startswith("http://…@127.0.0.1:9 does not answer")


def test_a_message_of_mlflow_that_repeats_the_address_is_cleared() -> None:
    from mlflow.exceptions import MlflowException

    address = "http://me:s3/cret@host:5000"
    with pytest.raises(CovbenchError, match=r"http://…@host:5000 failed: no answer from http://…@host") as shown:  # noqa: SIM117
        with explaining(address):
            raise MlflowException("no answer from http://me:s3%2Fcret@host:5000")
    assert "cret" not in str(shown.value)


NAMES = {
    "an apostrophe": b"o'brien",
    "both quotes": b"l'une \"et\" l'autre",
    "a word after a colon": b"3:30 :pm",
    "a space": b"my results",
    "an accent, composed and not": "café cafe\u0301".encode(),
    "another script": "肺部 影像".encode(),
    "a newline": b"two\nlines",
    "a backslash": b"back\\slash\\n",
    "a dash first, a point last": b"-rf.",
    "letters of addresses": b"50% #1 ? & = @ + ;",
    "letters of shells": b"$HOME `id` [a] * ! ~ (x) < > | ^ ,",
    "percent encoding": b"%20%27%2e%2e",
    "braces": b"{task}",
}
RUN = {"task": "covid_ct", "protocol": "audited", "architecture": "vgg16", "seed": 0}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared store."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    prepare_store(f"sqlite:///{path}")
    return path


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_runs_reach_mlflow_from_a_folder_of_any_name(name: bytes, empty_store: Path, tmp_path, monkeypatch) -> None:
    from mlflow import MlflowClient

    folder = tmp_path / os.fsdecode(name)
    results = Path("results", str(list(NAMES.values()).index(name)))  # MLflow opens an address once in a process
    (folder / results).mkdir(parents=True)
    shutil.copy(empty_store, folder / results)
    monkeypatch.chdir(folder)
    manifest = {"run": RUN, "options": {"size": 224}, "fingerprint": "a" * 64, "seconds": 1.0}
    manifest |= {"finished": "2025-01-01T12:00:00+00:00", "inputs": {"files": {"images": "e", "split": "f"}}}
    metrics = {"metrics": {"accuracy": 0.75}, "per_class": {}, "confusion": [[1]], "classes": ["covid"]}
    record = leave_run(Path(), manifest, metrics, pd.DataFrame({"epoch": [0], "phase": "head", "seconds": 1.0}))
    Path(record.folder, "model.keras").write_bytes(b"weights")
    uri = f"sqlite:///{results}/mlflow.db"
    (run_id,) = track_runs(uri, select_tracked([record])).values()
    client = MlflowClient(uri)
    assert {found.path for found in client.list_artifacts(run_id)} == {"manifest.json", "metrics.json"}
    assert (folder / results / "mlartifacts" / run_id).is_dir()
    require_contained(results / "mlflow.db")


def test_a_folder_that_mlflow_cannot_name_is_refused_before_the_first_job(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / os.fsdecode(b"entr\xe9e")
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(CovbenchError, match=r"entr\\xe9e/results, whose name is not UTF-8; rename it"):
        require_storable("sqlite:///results/mlflow.db")
    require_storable(f"sqlite:///{tmp_path}/mlflow.db")
    require_storable("http://login1:5000")


PROJECTS = {
    "/home/me/{covid}": "braces",
    "/home/me/lungs}": "braces",
    "/home/me/{lungs": "braces",
    "/data/2026-03-01T12:30/covbench": "import from",
}


@pytest.mark.parametrize(("project", "reason"), PROJECTS.items())
def test_a_project_in_a_folder_where_no_workflow_runs_is_refused_with_the_reason(project: str, reason: str) -> None:
    with pytest.raises(CovbenchError, match=rf"{reason}.*; move the project"):
        require_usable_path(project)


def run_sql(database: Path, command: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(command)


def open_login(results: Path) -> None:
    prepare_login(results).folder.chmod(0o755)


def link_login(results: Path) -> None:
    own = prepare_login(results).folder
    own.rename(results / "elsewhere")
    own.symlink_to(results / "elsewhere")


def replace_login_by_a_file(results: Path) -> None:
    (results / "mlflow-login").mkdir()
    (results / "mlflow-login" / str(os.getuid())).touch(0o600)


def lose_password(results: Path) -> None:
    folder = prepare_login(results).folder
    (folder / "accounts.db").touch()
    (folder / "password").unlink()


def give_login_away(results: Path) -> None:
    os.chown(prepare_login(results).folder, 20_001, 20_001)


def open_store(results: Path) -> None:
    (results / "mlflow.db").chmod(0o666)


def open_results(results: Path) -> None:
    results.chmod(0o777)


def open_artifacts(results: Path) -> None:
    (results / "mlartifacts").mkdir()
    (results / "mlartifacts").chmod(0o1777)


def link_in_artifacts(results: Path) -> None:
    (results / "mlartifacts" / "run").mkdir(parents=True)
    (results / "mlartifacts" / "run" / "metrics.json").symlink_to("/etc/passwd")


def link_folder_in_artifacts(results: Path) -> None:
    (results / "mlartifacts").mkdir()
    (results / "mlartifacts" / "run").symlink_to("/etc")


def name_files_elsewhere(address: str) -> Callable[[Path], None]:
    """An entry of the store whose files lie at an address."""
    run = f"INSERT INTO runs (run_uuid, experiment_id, artifact_uri) VALUES ('r', 0, '{address}')"
    return lambda results: run_sql(results / "mlflow.db", run)


TRAPS = {
    "a login folder that others can enter": (open_login, "nobody else can enter"),
    "a link in place of the login folder": (link_login, "nobody else can enter"),
    "a file in place of the login folder": (replace_login_by_a_file, "nobody else can enter"),
    "a login folder of another user": pytest.param(give_login_away, "nobody else can enter", marks=as_others),
    "accounts without the password": (lose_password, "missing; remove .* to get a new password"),
    "a store for all to write": (open_store, "mlflow.db: every user of this machine may write here; chmod o-w"),
    "a folder of results for all to write": (open_results, "every user of this machine may write here"),
    "a folder of artifacts for all to write": (open_artifacts, "mlartifacts: every user"),
    "an artifact that is a link": (link_in_artifacts, "metrics.json: a link"),
    "a folder of artifacts that is a link": (link_folder_in_artifacts, "run: a link"),
    "a run whose files lie in /etc": (name_files_elsewhere("file:///etc"), "names files outside .*: /etc; move"),
    "the same as a path": (name_files_elsewhere("/etc"), "names files outside .*: /etc; move"),
    "the same, percent-encoded": (name_files_elsewhere("file:///%65tc"), "names files outside .*: /etc; move"),
}


@pytest.mark.parametrize(("trap", "words"), TRAPS.values(), ids=TRAPS)
def test_mlflow_is_not_served_where_others_could_read_or_change_more_than_runs(
    trap: Callable[[Path], None], words: str, empty_store: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    results.mkdir()
    shutil.copy(empty_store, results)
    require_contained(results / "mlflow.db")
    trap(results)
    with pytest.raises(CovbenchError, match=words):  # noqa: PT012
        require_contained(results / "mlflow.db")
        prepare_login(results)


def test_the_password_is_made_once_long_and_only_for_its_user(tmp_path: Path) -> None:
    first, second = prepare_login(tmp_path), prepare_login(tmp_path)
    assert (first.new, second.new, first.password) == (True, False, second.password)
    assert len(first.password) >= 24
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in [first.folder, *first.folder.iterdir()]} == {
        str(os.getuid()): "0o700",
        "password": "0o600",
        "auth.ini": "0o600",
    }
    assert first.password not in (first.folder / "auth.ini").read_text()


def test_a_port_that_somebody_else_listens_on_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(CovbenchError, match=rf"127.0.0.1:{port}: in use, maybe by another user"):
            require_free(port)


SITE_CACHES = {
    "DVC's default for all users": ("", 0o777, "warning"),
    "a folder that others can enter": ("private", 0o755, "warning"),
    "a folder for all to write": ("private", 0o1777, "warning"),
    "a folder that is not there, which DVC would open to all": ("private", 0, "warning"),
    "a folder of one's own": ("private", 0o700, "ok"),
}


@pytest.mark.parametrize(("name", "mode", "level"), SITE_CACHES.values(), ids=SITE_CACHES)
def test_a_site_cache_of_dvc_that_others_can_write_to_is_found(name, mode, level, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    (tmp_path / ".dvc").mkdir()
    cache = tmp_path / ".dvc" / "it's 100% private"
    if mode:
        cache.mkdir()
        cache.chmod(mode)
    if name:
        (tmp_path / ".dvc" / "config.local").write_text(f"[core]\n    site_cache_dir = {cache}\n")
    (found,) = check_dvc(tmp_path)
    assert found.level == level
    assert ("mkdir -p -m 700" in found.message) == (level == "warning")
