"""ImageNet weight files: the table, and every way in which fetching one of them can go wrong."""

from __future__ import annotations

import csv
import hashlib
import logging
from pathlib import Path

import h5py
import pytest

from covbench.data.sources import downloads
from covbench.data.sources.fetch_lock import LOCKS
from covbench.data.sources.pretrained_weights import (
    TABLE,
    Weights,
    fetch_weights,
    find_origin,
    list_substitutes,
    read_weights_table,
    weights_file,
)
from covbench.models.catalogue import CLASSIFIERS, SEGMENTERS
from covbench.schema import CovbenchError
from tests.local_server import LocalServer, Served

SAMPLES = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "weights"
VGG16, MOBILENET, OTHER_MOBILENET = "keras_vgg16.h5", "keras_mobilenetv2.h5", "sm_mobilenetv2.h5"
SUBSTITUTE, REBUILT = "rebuilt.h5", b"\x89HDF\r\n\x1a\nrebuilt"
REBUILT_SUM = f"sha256:{hashlib.sha256(REBUILT).hexdigest()}"


@pytest.fixture
def hdf5(tmp_path) -> bytes:
    with h5py.File(tmp_path / "made.h5", "w") as file:
        file["kernel"] = [1.0, 2.0]
    return (tmp_path / "made.h5").read_bytes()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(downloads, "WAITS", ())
    with LocalServer() as running:
        yield running


@pytest.fixture
def table(tmp_path, hdf5, server) -> Path:
    """One file whose md5 is published, two of different libraries that share a name and have none."""
    md5 = f"md5:{hashlib.md5(hdf5).hexdigest()}"
    lines = [
        ("keras/vgg16", VGG16, "vgg16_notop.h5", f"{server.url}/vgg16_notop.h5", md5, "", ""),
        ("keras/mobilenetv2", MOBILENET, "mobilenet.h5", f"{server.url}/google/mobilenet.h5", "", "", ""),
        ("sm/mobilenetv2", OTHER_MOBILENET, "mobilenet.h5", f"{server.url}/github/mobilenet.h5", "", "", ""),
        (
            "rebuilt",
            SUBSTITUTE,
            MOBILENET,
            "",
            REBUILT_SUM,
            "",
            "rebuilt from 8 bits",
            "keras/mobilenetv2 sm/mobilenetv2",
        ),
    ]
    with open(tmp_path / "weights.csv", "w", newline="") as file:
        csv.writer(file).writerows([list(Weights.__dataclass_fields__), *lines])
    return tmp_path / "weights.csv"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "weights"


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and path.parent.name != LOCKS}


def test_every_network_of_the_catalogue_has_its_line_and_every_line_its_network():
    wanted = {entry.weights for entry in (*CLASSIFIERS.values(), *SEGMENTERS.values()) if entry.weights}
    published = {weights.key: weights.file for weights in read_weights_table() if not weights.replaces}
    assert published.keys() == wanted
    for substitute in list_substitutes():
        assert set(substitute.replaces.split()) <= wanted
        assert substitute.file not in published.values()
        assert (substitute.url, substitute.checksum[:7]) == ("", "sha256:")
        assert "Apache-2.0" in substitute.note


def test_local_names_are_unique_although_upstream_names_are_not():
    table = read_weights_table()
    assert len({weights.file for weights in table}) == len(table) == 22 + 28 + 1
    assert weights_file("keras/mobilenetv2") == "keras_mobilenetv2.h5"
    assert weights_file("sm/mobilenetv2") == "sm_mobilenetv2.h5"


def test_checksums_have_the_length_of_their_kind_and_only_two_mobilenets_have_none():
    digits = {"md5": 32, "sha256": 64}
    for weights in read_weights_table(TABLE):
        for checksum in filter(None, (weights.checksum, weights.accepted_checksum)):
            kind, _, value = checksum.partition(":")
            assert len(value) == digits[kind], weights.key
        unverified = "/mobilenetv2" in weights.key or weights.key == "keras/mobilenet"
        assert bool(weights.checksum) != unverified


def test_an_unknown_key_or_file_is_answered_with_the_known_ones(folder):
    with pytest.raises(CovbenchError, match="unknown weights 'keras/vgg17'; known: keras/vgg16, "):
        weights_file("keras/vgg17")
    with pytest.raises(CovbenchError, match=r"unknown weight file 'vgg\.h5'; known: keras_vgg16\.h5, "):
        fetch_weights("vgg.h5", folder)


def test_a_file_is_downloaded_verified_and_its_sha256_noted(server, table, folder, hdf5):
    server.files["/vgg16_notop.h5"] = Served(hdf5)
    assert fetch_weights(VGG16, folder, table=table) == folder / VGG16
    assert (folder / VGG16).read_bytes() == hdf5
    assert (folder / f"{VGG16}.sha256").read_text() == f"{hashlib.sha256(hdf5).hexdigest()}  {VGG16}\n"


@pytest.mark.parametrize("name", [VGG16, "vgg16_notop.h5"])
def test_a_mirror_may_use_the_local_or_the_upstream_name(tmp_path, table, folder, hdf5, server, name):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / name).write_bytes(hdf5)
    fetch_weights(VGG16, folder, tmp_path / "mirror", table)
    assert (folder / VGG16).read_bytes() == hdf5
    assert server.requests == []


def test_a_name_that_two_libraries_share_is_not_taken_from_a_mirror_unverified(tmp_path, table, folder, hdf5):
    (tmp_path / "mobilenet.h5").write_bytes(hdf5)
    with pytest.raises(
        CovbenchError, match=r"holds no sm_mobilenetv2\.h5; download it from http.*/github/mobilenet\.h5"
    ):
        fetch_weights(OTHER_MOBILENET, folder, tmp_path, table)
    assert files_in(folder) == set()


def test_wrong_bytes_are_refused_from_the_net_and_from_a_mirror(tmp_path, server, table, folder, hdf5):
    server.files["/vgg16_notop.h5"] = Served(hdf5 + b"!")
    (tmp_path / VGG16).write_bytes(hdf5 + b"!")
    for mirror in (None, tmp_path):
        with pytest.raises(CovbenchError, match=r"keras_vgg16\.h5 from .*wrong md5: expected .*, got"):
            fetch_weights(VGG16, folder, mirror, table)
        assert files_in(folder) == set()
    assert (tmp_path / VGG16).exists()


def test_an_error_page_without_a_checksum_to_catch_it_is_no_weight_file(server, table, folder):
    server.files["/google/mobilenet.h5"] = Served(b"<html>moved</html>")
    with pytest.raises(CovbenchError, match="not an HDF5 file"):
        fetch_weights(MOBILENET, folder, table=table)
    assert files_in(folder) == set()


def test_without_a_published_checksum_the_first_file_is_noted_with_a_warning_and_another_refused(
    server, table, folder, hdf5, caplog
):
    server.files["/google/mobilenet.h5"] = Served(hdf5)
    with caplog.at_level(logging.WARNING):
        fetch_weights(MOBILENET, folder, table=table)
    assert "no checksum is published" in caplog.text
    (folder / MOBILENET).unlink()  # as Snakemake does before it runs the rule again
    server.files["/google/mobilenet.h5"] = Served(hdf5 + b"!")
    with pytest.raises(
        CovbenchError, match=r"not the file of an earlier fetch: .*delete .*keras_mobilenetv2\.h5\.sha256"
    ):
        fetch_weights(MOBILENET, folder, table=table)
    assert files_in(folder) == {f"{MOBILENET}.sha256"}


def test_without_a_network_the_message_names_file_address_and_what_to_do(table, folder, server):
    server.httpd.server_close()
    with pytest.raises(CovbenchError) as error:
        fetch_weights(VGG16, folder, table=table)
    for words in ("cannot reach 127.0.0.1", f"{server.url}/vgg16_notop.h5", VGG16, "weights.mirror", "`weights: none`"):
        assert words in str(error.value)
    assert files_in(folder) == set()


def test_a_download_cut_in_the_middle_has_no_final_name_and_is_resumed(server, table, folder, hdf5):
    content = hdf5 + bytes(100_000)
    server.files["/google/mobilenet.h5"] = Served(content, cuts=[65_536])
    with pytest.raises(CovbenchError, match="keeps breaking"):
        fetch_weights(MOBILENET, folder, table=table)
    assert not (folder / MOBILENET).exists()
    fetch_weights(MOBILENET, folder, table=table)
    assert (folder / MOBILENET).read_bytes() == content
    assert server.requests[-1][2] == "bytes=65536-"


def test_the_real_mobilenet_file_is_accepted_from_its_mirror_without_a_warning(folder, caplog):
    if not SAMPLES.is_dir():
        pytest.skip(f"{SAMPLES} is absent")
    with caplog.at_level(logging.WARNING):
        fetch_weights("keras_mobilenetv2_035.h5", folder, SAMPLES)
    assert caplog.text == ""
    with h5py.File(folder / "keras_mobilenetv2_035.h5") as file:
        assert len(file) > 0


def test_a_network_starts_from_a_substitute_only_where_the_config_names_it():
    named = ("mobilenetv2_dequantised",)
    for key in ("keras/mobilenetv2", "sm/mobilenetv2"):
        assert weights_file(key, named) == "mobilenetv2_dequantised.h5"
    assert weights_file("keras/mobilenetv2_035", named) == "keras_mobilenetv2_035.h5"
    assert weights_file("keras/mobilenetv2") == MOBILENET


@pytest.mark.parametrize("name", [SUBSTITUTE, MOBILENET])
def test_a_substitute_is_fetched_under_its_own_name_whatever_the_mirror_calls_it(tmp_path, table, folder, name):
    (tmp_path / name).write_bytes(REBUILT)
    assert fetch_weights(SUBSTITUTE, folder, tmp_path, table).read_bytes() == REBUILT
    assert files_in(folder) == {SUBSTITUTE, f"{SUBSTITUTE}.sha256"}
    assert find_origin(SUBSTITUTE, tmp_path, table) == str(tmp_path / name)


@pytest.mark.parametrize("wanted", [MOBILENET, OTHER_MOBILENET, VGG16])
def test_a_substitute_is_never_taken_for_the_published_file_of_its_name(tmp_path, table, folder, wanted):
    (tmp_path / wanted).write_bytes(REBUILT)
    message = rf"{wanted} from .*: this is not the published file but rebuilt .*set weights\.substitutes: \[rebuilt\]"
    with pytest.raises(CovbenchError, match=message):
        fetch_weights(wanted, folder, tmp_path, table)
    assert files_in(folder) == set()


def test_the_published_file_is_not_taken_for_its_substitute(tmp_path, table, folder, hdf5):
    (tmp_path / MOBILENET).write_bytes(hdf5)
    with pytest.raises(CovbenchError, match=r"rebuilt\.h5 from .*wrong sha256"):
        fetch_weights(SUBSTITUTE, folder, tmp_path, table)
    assert files_in(folder) == set()


def test_a_substitute_that_no_mirror_holds_is_named_with_what_to_do(tmp_path, table, folder):
    with pytest.raises(CovbenchError, match=r"holds no rebuilt\.h5 or keras_mobilenetv2\.h5; its checksum is sha256:"):
        fetch_weights(SUBSTITUTE, folder, tmp_path, table)
    for ask in (lambda: fetch_weights(SUBSTITUTE, folder, table=table), lambda: find_origin(SUBSTITUTE, None, table)):
        with pytest.raises(CovbenchError, match=r"nobody publishes this file; set weights\.mirror to a folder"):
            ask()
