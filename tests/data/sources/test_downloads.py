"""Downloads against a real server on this machine that breaks off, changes its mind, refuses or lies."""

from __future__ import annotations

import hashlib
import random
import socket

import pytest

from covbench.data.sources import downloads
from covbench.data.sources.downloads import download, get_json
from covbench.schema import CovbenchError
from tests.local_server import LocalServer, Served

CONTENT = random.Random(1).randbytes(163_840)
OTHER = random.Random(2).randbytes(163_840)
FORTY_PERCENT = 65_536


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


@pytest.fixture
def server():
    with LocalServer() as running:
        yield running


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(downloads, "WAITS", (0.0, 0.0, 0.0))


def interrupt_at_forty_percent(server, target, monkeypatch, **served) -> None:
    """A first run that ends after 65,536 of 163,840 bytes."""
    server.files["/a.zip"] = Served(CONTENT, cuts=[FORTY_PERCENT], **served)
    waits = downloads.WAITS
    monkeypatch.setattr(downloads, "WAITS", ())
    with pytest.raises(CovbenchError, match="keeps breaking"):
        download(f"{server.url}/a.zip", target)
    monkeypatch.setattr(downloads, "WAITS", waits)
    server.requests.clear()


def test_a_connection_cut_at_forty_percent_is_continued_from_there(server, tmp_path):
    server.files["/a.zip"] = Served(CONTENT, cuts=[FORTY_PERCENT])
    download(f"{server.url}/a.zip", tmp_path / "a.zip", checksum=md5(CONTENT))
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.requests == [("GET", "/a.zip", ""), ("GET", "/a.zip", f"bytes={FORTY_PERCENT}-")]
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]
    assert all(agent.startswith("covbench/") for agent in server.agents)


def test_an_interrupted_download_has_no_final_name_and_the_next_run_continues_it(server, tmp_path, monkeypatch):
    interrupt_at_forty_percent(server, tmp_path / "a.zip", monkeypatch)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip.part", "a.zip.part.json"]
    download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.requests == [("GET", "/a.zip", f"bytes={FORTY_PERCENT}-")]


def test_a_download_cut_again_and_again_goes_on_as_long_as_it_grows(server, tmp_path):
    server.files["/a.zip"] = Served(CONTENT, cuts=[32_768] * 4)
    download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert len(server.requests) == 5


def test_a_server_that_knows_no_ranges_is_asked_for_the_whole_file_again(server, tmp_path):
    server.files["/a.zip"] = Served(CONTENT, ranges=False, cuts=[FORTY_PERCENT])
    download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_file_that_changed_between_two_runs_is_not_pasted_together(server, tmp_path, monkeypatch):
    interrupt_at_forty_percent(server, tmp_path / "a.zip", monkeypatch)
    server.files["/a.zip"] = Served(OTHER, etag='"second"')
    download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == OTHER


def test_without_etag_and_checksum_nothing_is_continued(server, tmp_path, monkeypatch):
    interrupt_at_forty_percent(server, tmp_path / "a.zip", monkeypatch, etag="")
    server.files["/a.zip"] = Served(OTHER, etag="")
    download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == OTHER
    assert server.requests == [("GET", "/a.zip", "")]


def test_a_resumed_file_with_a_wrong_checksum_is_fetched_once_more_from_its_start(server, tmp_path, monkeypatch):
    interrupt_at_forty_percent(server, tmp_path / "a.zip", monkeypatch, etag="")
    server.files["/a.zip"] = Served(OTHER, etag="")
    download(f"{server.url}/a.zip", tmp_path / "a.zip", checksum=md5(OTHER))
    assert (tmp_path / "a.zip").read_bytes() == OTHER
    assert server.requests == [("GET", "/a.zip", f"bytes={FORTY_PERCENT}-"), ("GET", "/a.zip", "")]


def test_a_part_that_was_complete_when_the_run_was_killed_needs_no_request(server, tmp_path, monkeypatch):
    interrupt_at_forty_percent(server, tmp_path / "a.zip", monkeypatch)
    with open(tmp_path / "a.zip.part", "ab") as part:
        part.write(CONTENT[FORTY_PERCENT:])
    download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert server.requests == []


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path, monkeypatch):
    interrupt_at_forty_percent(server, tmp_path / "a.zip", monkeypatch)
    server.files["/a.zip"] = Served(CONTENT[:1000], statuses=[416])
    download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT[:1000]


def test_a_wrong_checksum_names_file_and_both_sums_and_leaves_nothing(server, tmp_path):
    server.files["/a.zip"] = Served(OTHER)
    with pytest.raises(CovbenchError) as error:
        download(f"{server.url}/a.zip", tmp_path / "a.zip", checksum=md5(CONTENT))
    for words in ("a.zip", md5(CONTENT)[4:], md5(OTHER)[4:], "removed"):
        assert words in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_here_with_its_checksum_is_not_fetched_again(server, tmp_path):
    (tmp_path / "a.zip").write_bytes(CONTENT)
    download(f"{server.url}/a.zip", tmp_path / "a.zip", checksum=md5(CONTENT))
    assert server.requests == []


def test_another_size_than_published_is_refused(server, tmp_path):
    server.files["/a.zip"] = Served(CONTENT)
    with pytest.raises(CovbenchError, match="holds 163840 bytes instead of 163839"):
        download(f"{server.url}/a.zip", tmp_path / "a.zip", size=163_839)


def test_a_missing_file_fails_at_once_and_says_so(server, tmp_path):
    with pytest.raises(CovbenchError, match=r"not found \(HTTP 404\)"):
        download(f"{server.url}/gone.zip", tmp_path / "gone.zip")
    assert len(server.requests) == 1


def test_too_many_requests_waits_as_asked_and_goes_on(server, tmp_path):
    server.files["/a.zip"] = Served(CONTENT, statuses=[429, 503], headers={"Retry-After": "0"})
    download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_too_many_requests_for_long_is_reported_with_the_seconds(server, tmp_path):
    server.files["/a.zip"] = Served(CONTENT, statuses=[429], headers={"Retry-After": "3600"})
    with pytest.raises(CovbenchError, match=r"asks to wait for 3600 s \(HTTP 429"):
        download(f"{server.url}/a.zip", tmp_path / "a.zip")


def test_a_server_out_of_order_is_not_called_a_missing_network(server, tmp_path):
    server.files["/a.zip"] = Served(CONTENT, statuses=[503] * 9)
    with pytest.raises(CovbenchError, match=r"cannot answer now \(HTTP 503"):
        download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert len(server.requests) == 4


@pytest.mark.parametrize("host", ["closed port", "unknown name"])
def test_without_a_network_the_message_says_so_and_names_the_mirror(tmp_path, host):
    with socket.socket() as taken:  # bound, not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}" if host == "closed port" else "nowhere.invalid"
        with pytest.raises(CovbenchError, match=r"cannot reach .* is there a network\? If not, .*fetch\.mirror"):
            download(f"http://{address}/a.zip", tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_file_larger_than_the_disk_is_refused_before_a_byte_is_written(server, tmp_path):
    server.files["/a.zip"] = Served(CONTENT, claimed=10**16)
    with pytest.raises(CovbenchError, match=r"no space left for a\.zip: it needs 10000\.0 TB .* free"):
        download(f"{server.url}/a.zip", tmp_path / "a.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_login_page_in_place_of_json_is_named(server):
    server.files["/api"] = Served(b"<html>sign in to the guest network")
    with pytest.raises(CovbenchError, match="the answer is not JSON"):
        get_json(f"{server.url}/api")
