"""Kaggle: the real package, talking to a server on this machine."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from covbench.data.sources import downloads, fetch_dataset
from covbench.schema import CovbenchError, Kaggle, KaggleCompetition
from tests.local_server import LocalServer, Served
from tests.small_datasets import make_card, read_tree, write_tree, zip_bytes

DATASET_CALL = "/v1/datasets.DatasetApiService/DownloadDataset"
COMPETITION_CALL = "/v1/competitions.CompetitionApiService/DownloadDataFiles"


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "data" / "raw" / "covid_ct"


@pytest.fixture
def server(monkeypatch, tmp_path):
    from kagglesdk import kaggle_env

    monkeypatch.setattr(downloads, "WAITS", (0.0, 0.0))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "kaggle"))
    monkeypatch.setenv("KAGGLE_USERNAME", "reader")
    monkeypatch.setenv("KAGGLE_KEY", "0123secret")
    monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
    with LocalServer() as running:
        monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, running.url)
        yield running


def test_a_kaggle_dataset_is_brought_and_a_cut_connection_is_continued(server, raw, monkeypatch):
    content = zip_bytes({"COVID/a (1).png": bytes(3_000_000)})
    server.files[DATASET_CALL] = Served(redirect=f"{server.url}/storage/archive.zip?signature=x")
    server.files["/storage/archive.zip"] = Served(content, cuts=[2**20])
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the package waits 2 s after a cut
    manifest = fetch_dataset("covid_ct", make_card(Kaggle("owner/name", 3)), raw, None)
    assert read_tree(raw) == {"COVID/a (1).png": bytes(3_000_000)}
    assert manifest["source"] == "kaggle dataset owner/name version 3"
    assert server.requests[0] == ("POST", DATASET_CALL, "")
    assert server.requests[-1] == ("GET", "/storage/archive.zip", f"bytes={2**20}-")


def test_the_version_of_the_card_is_asked_for_and_a_first_fetch_says_how_to_record_it(server, raw, caplog):
    server.files[DATASET_CALL] = Served(redirect=f"{server.url}/storage/archive.zip")
    server.files["/storage/archive.zip"] = Served(zip_bytes({"a.png": b"one"}))
    with caplog.at_level(logging.WARNING):
        fetch_dataset("covid_ct", make_card(Kaggle("owner/name", 3)), raw, None)
    assert json.loads(server.bodies[0])["datasetVersionNumber"] == 3
    assert "cp data/raw/covid_ct.manifest.json workflow/resources/manifests/covid_ct.json" in caplog.text


def test_a_kaggle_dataset_has_to_bring_what_is_recorded_of_its_version(server, raw, tmp_path):
    recorded = tmp_path / "recorded"
    server.files[DATASET_CALL] = Served(redirect=f"{server.url}/storage/archive.zip")
    server.files["/storage/archive.zip"] = Served(zip_bytes({"a.png": b"one"}))
    manifest = fetch_dataset("covid_ct", make_card(Kaggle("owner/name", 3)), raw, None)
    write_tree(recorded, {"covid_ct.json": json.dumps(manifest).encode()})
    server.files["/storage/archive.zip"] = Served(zip_bytes({"a.png": b"two"}))
    elsewhere = tmp_path / "elsewhere" / "covid_ct"
    with pytest.raises(CovbenchError, match=r"not those recorded in .*covid_ct\.json: a\.png \(changed\)"):
        fetch_dataset("covid_ct", make_card(Kaggle("owner/name", 3)), elsewhere, None, recorded)
    with pytest.raises(CovbenchError, match="version 3, but the card names kaggle dataset owner/name version 4"):
        fetch_dataset("covid_ct", make_card(Kaggle("owner/name", 4)), elsewhere, None, recorded)
    assert not elsewhere.exists()


def test_a_kaggle_competition_is_brought(server, raw):
    server.files[COMPETITION_CALL] = Served(redirect=f"{server.url}/storage/bundle.zip?signature=x")
    server.files["/storage/bundle.zip"] = Served(zip_bytes({"masks_medseg.npy": b"mask"}))
    fetch_dataset("medseg", make_card(KaggleCompetition("covid-segmentation")), raw, None)
    assert read_tree(raw) == {"masks_medseg.npy": b"mask"}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "refuses the credentials .HTTP 401.: sign in at .*kaggle.json"),
        (403, "accept the rules at https://www.kaggle.com/competitions/covid-segmentation/rules and verify your phone"),
        (404, "not found, or private"),
        (429, "asks to wait .*too many requests"),
    ],
)
def test_each_refusal_of_kaggle_has_words_of_its_own(server, raw, status, words):
    server.files[COMPETITION_CALL] = Served(statuses=[status] * 9)
    with pytest.raises(CovbenchError, match=words):
        fetch_dataset("medseg", make_card(KaggleCompetition("covid-segmentation")), raw, None)
    assert not raw.exists()


def test_a_kaggle_archive_larger_than_the_disk_is_refused_before_it_is_written(server, raw):
    server.files[DATASET_CALL] = Served(redirect=f"{server.url}/storage/archive.zip")
    server.files["/storage/archive.zip"] = Served(b"x", claimed=10**16)
    with pytest.raises(CovbenchError, match=r"no space left for name\.zip: it needs 10000\.0 TB"):
        fetch_dataset("covid_ct", make_card(Kaggle("owner/name", 3)), raw, None)


KAGGLE_FETCH = """
import logging, sys
from pathlib import Path
from covbench.schema import Card, CovbenchError, Kaggle
from covbench.data.sources import downloads, fetch_dataset
logging.basicConfig(level=logging.DEBUG)
downloads.WAITS = ()
if len(sys.argv) > 2:
    from kagglesdk import kaggle_env
    kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = sys.argv[2]
try:
    card = Card("x", "ct", (), (Kaggle("owner/name", 3),), (), "none", "none")
    fetch_dataset("x", card, Path(sys.argv[1]), None)
except CovbenchError as error:
    sys.exit(f"CovbenchError: {error}")
"""


def run_kaggle_fetch(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KAGGLE_", "XDG_"))}
    return subprocess.run(
        [sys.executable, "-c", KAGGLE_FETCH, str(tmp_path / "raw" / "x"), *arguments],
        env=kept | {"HOME": str(tmp_path / "home")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_kaggle_credentials_the_message_says_what_to_create_and_where(tmp_path):
    (tmp_path / "home").mkdir()
    ended = run_kaggle_fetch(tmp_path)
    assert ended.returncode == 1
    assert "CovbenchError: no Kaggle credentials" in ended.stderr
    for words in (
        "https://www.kaggle.com/settings",
        "~/.kaggle/kaggle.json",
        "KAGGLE_USERNAME and KAGGLE_KEY",
        "mirror",
    ):
        assert words in ended.stderr
    assert ended.stdout == ""
    assert not (tmp_path / "raw" / "x").exists()


def test_the_kaggle_key_appears_in_no_output_however_verbose(tmp_path):
    (tmp_path / "home").mkdir()
    secret = {"KAGGLE_USERNAME": "reader", "KAGGLE_KEY": "0123secret", "VERBOSE": "1"}
    with LocalServer() as server:
        server.files[DATASET_CALL] = Served(statuses=[401])
        ended = run_kaggle_fetch(tmp_path, server.url, **secret)
    assert "HTTP 401" in ended.stderr
    for shown in ("0123secret", "cmVhZGVyOjAxMjNzZWNyZXQ", "Authorization"):  # plain, as Basic sends it, its header
        assert shown not in ended.stdout + ended.stderr


def test_kaggle_without_a_network_is_called_so(tmp_path):
    (tmp_path / "home").mkdir()
    ended = run_kaggle_fetch(tmp_path, "http://127.0.0.1:9", KAGGLE_USERNAME="reader", KAGGLE_KEY="0123secret")
    assert "cannot reach www.kaggle.com" in ended.stderr
    assert "fetch.mirror" in ended.stderr
