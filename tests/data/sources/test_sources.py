"""Whole datasets: from GitHub, Zenodo, a mirror, or drawn."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from covbench.data.sources import downloads, fetch_dataset, origins
from covbench.data.sources.git_trees import hash_tree
from covbench.schema import Annotations, CovbenchError, GitHub, Synthetic, Zenodo
from tests.git_hosting import git, publish
from tests.local_server import LocalServer, Served
from tests.small_datasets import make_card, read_tree, write_tree, zip_bytes

SAMPLES = Path(__file__).resolve().parents[3].parent / "shared" / "data"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(downloads, "WAITS", (0.0, 0.0))
    with LocalServer() as running:
        monkeypatch.setattr(origins, "GITHUB", running.url)
        monkeypatch.setattr(origins, "ZENODO", running.url)
        yield running


@pytest.fixture
def home(tmp_path):
    return tmp_path / "repositories"


@pytest.fixture
def raw(tmp_path):
    return tmp_path / "data" / "raw" / "covid_ct"


# --- GitHub ---


def test_a_github_commit_loses_its_top_folder_and_its_inner_zips_become_folders(server, raw, home):
    inner = zip_bytes({"CT_COVID/a%1.png": b"ct"})
    files = {"README.md": b"read", "Images/CT_COVID.zip": inner, "Images.md": b"", "run me": b"#!"}
    commit = publish(server, home, files, programs=["run me"], repository="UCSD-AI4H/COVID-CT")
    path = f"/UCSD-AI4H/COVID-CT/archive/{commit}.zip"
    server.files["/codeload"] = server.files[path]
    server.files[path] = Served(redirect=f"{server.url}/codeload")
    manifest = fetch_dataset("covid_ct", make_card(GitHub("UCSD-AI4H/COVID-CT", commit)), raw, None)
    assert read_tree(raw) == {"README.md": b"read", "Images.md": b"", "run me": b"#!", "Images/CT_COVID/a%1.png": b"ct"}
    assert manifest["source"] == f"github UCSD-AI4H/COVID-CT @{commit}"
    assert manifest["files"]["README.md"] == {"sha256": hashlib.sha256(b"read").hexdigest(), "size": 4}
    assert json.loads((raw.parent / "covid_ct.manifest.json").read_text()) == manifest
    assert not (raw.parent / ".downloads" / "covid_ct").exists()


def test_an_archive_with_another_byte_than_the_commit_is_refused_although_its_comment_is_right(server, raw, home):
    commit = publish(server, home, {"a.png": b"true"})
    served = server.files[f"/o/r/archive/{commit}.zip"]
    true, served.content = served.content, zip_bytes({f"r-{commit}/a.png": b"fals"}, commit)
    with pytest.raises(CovbenchError, match=f"github o/r: the archive holds other files than commit {commit}"):
        fetch_dataset("covid_ct", make_card(GitHub("o/r", commit)), raw, None)
    assert not raw.exists()
    served.content = true
    fetch_dataset("covid_ct", make_card(GitHub("o/r", commit)), raw, None)
    assert read_tree(raw) == {"a.png": b"true"}


def test_the_archive_of_another_commit_of_the_repository_is_refused(server, raw, home):
    first = publish(server, home, {"a.png": b"one"})
    second = publish(server, home, {"a.png": b"two"})
    server.files[f"/o/r/archive/{first}.zip"] = server.files[f"/o/r/archive/{second}.zip"]
    with pytest.raises(CovbenchError, match="holds other files than commit"):
        fetch_dataset("covid_ct", make_card(GitHub("o/r", first)), raw, None)


def test_a_commit_that_the_repository_does_not_have_is_named(server, raw, home):
    publish(server, home, {"a.png": b"one"})
    with pytest.raises(CovbenchError, match=rf"o/r\.git: no commit {COMMIT}"):
        fetch_dataset("covid_ct", make_card(GitHub("o/r", COMMIT)), raw, None)


def test_the_hash_of_a_tree_is_that_of_git(tmp_path, home):
    files = {"a-b": b"1", "a/b/c": b"2", "a.png": b"3", "ab": b"4", "ö (1)": b"", "a/run": b"5", "run": b"6"}
    work = write_tree(tmp_path / "work", files)
    for name in ("run", "a/run"):
        (work / name).chmod(0o755)
    git(work, "init", "-q")
    git(work, "add", ".")
    assert hash_tree(write_tree(tmp_path / "bare", files), {"run", "a/run"}) == git(work, "write-tree").decode().strip()


def test_git_lfs_pointers_are_not_taken_for_data(server, raw, home):
    commit = publish(server, home, {"ct/a.nii": LFS_POINTER, "b": b"x"})
    with pytest.raises(CovbenchError, match=r"1 files are git-LFS pointers, not data: ct/a\.nii; .*git lfs pull"):
        fetch_dataset("covid_ct", make_card(GitHub("o/r", commit)), raw, None)
    assert not raw.exists()


def test_a_branch_is_no_commit(raw):
    with pytest.raises(CovbenchError, match="'master' is not 40 hexadecimal digits"):
        fetch_dataset("covid_ct", make_card(GitHub("o/r", "master")), raw, None)


def test_a_damaged_archive_is_removed_and_the_next_run_fetches_it_anew(server, raw, home):
    commit = publish(server, home, {"a.png": os.urandom(5000)})
    card, served = make_card(GitHub("o/r", commit)), server.files[f"/o/r/archive/{commit}.zip"]
    whole, served.content = served.content, served.content[:2000] + b"!" + served.content[2001:]
    with pytest.raises(CovbenchError, match="damaged"):
        fetch_dataset("covid_ct", card, raw, None)
    assert not raw.exists()
    served.content = whole
    fetch_dataset("covid_ct", card, raw, None)
    assert (raw / "a.png").stat().st_size == 5000


def test_a_pinned_dataset_that_lies_here_unchanged_is_not_fetched_again_and_a_changed_one_is(server, raw, home):
    commit = publish(server, home, {"a.png": b"x", "b.png": b"y"})
    archive, card = ("GET", f"/o/r/archive/{commit}.zip", ""), make_card(GitHub("o/r", commit))
    first = fetch_dataset("covid_ct", card, raw, None)
    (raw.parent / "covid_ct.manifest.json").unlink()  # as Snakemake does before it runs the rule again
    assert fetch_dataset("covid_ct", card, raw, None) == first
    assert server.requests.count(archive) == 1
    (raw / "a.png").write_bytes(b"spoilt")
    assert fetch_dataset("covid_ct", card, raw, None) == first
    assert (raw / "a.png").read_bytes() == b"x"
    assert server.requests.count(archive) == 2


SLOW_FETCH = """
import sys
from pathlib import Path
from covbench.schema import Card, GitHub
from covbench.data.sources import fetch_dataset, origins
origins.GITHUB = sys.argv[1]
card = Card("slow", "ct", (), (GitHub("o/r", sys.argv[2]),), (), "none", "none")
fetch_dataset("covid_ct", card, Path(sys.argv[3]), None)
"""


def test_a_fetch_killed_in_the_middle_leaves_no_dataset_and_the_next_one_resumes(server, raw, home):
    commit = publish(server, home, {"a.png": os.urandom(1_000_000)})
    served = server.files[f"/o/r/archive/{commit}.zip"]
    served.seconds_per_chunk = 0.02
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_FETCH, server.url, commit, str(raw)], stderr=subprocess.DEVNULL
    )
    part = raw.parent / ".downloads" / "covid_ct" / f"o-r-{commit}.zip.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 300_000) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    received = part.stat().st_size
    assert 300_000 < received < 1_000_000
    assert not raw.exists()
    assert not (raw.parent / "covid_ct.manifest.json").exists()
    served.seconds_per_chunk = 0
    fetch_dataset("covid_ct", make_card(GitHub("o/r", commit)), raw, None)
    assert server.requests[-1][2] == f"bytes={received}-"
    assert (raw / "a.png").stat().st_size == 1_000_000


# --- Zenodo ---


def serve_zenodo(server: LocalServer, files: dict[str, bytes]) -> None:
    entries = []
    for name, content in files.items():
        url = f"/api/records/3757476/files/{name}/content"
        server.files[url] = Served(content)
        checksum = f"md5:{hashlib.md5(content).hexdigest()}"
        links = {"self": f"{server.url}{url}"}
        entries.append({"key": name, "size": len(content), "checksum": checksum, "links": links})
    server.files["/api/records/3757476"] = Served(json.dumps({"files": entries}).encode())


def test_zenodo_files_are_verified_and_each_zip_becomes_a_folder(server, raw):
    masks, scans = zip_bytes({"c_001.nii.gz": b"mask"}), zip_bytes({"c_001.nii.gz": b"scan"})
    serve_zenodo(server, {"Infection_Mask.zip": masks, "20cases.zip": scans, "unwanted.zip": b"?"})
    md5 = {"Infection_Mask.zip": hashlib.md5(masks).hexdigest(), "20cases.zip": hashlib.md5(scans).hexdigest()}
    fetch_dataset("covid_ct", make_card(Zenodo("3757476", md5)), raw, None)
    assert read_tree(raw) == {"Infection_Mask/c_001.nii.gz": b"mask", "20cases/c_001.nii.gz": b"scan"}


def test_a_zenodo_file_with_another_md5_than_the_card_is_refused_before_the_download(server, raw):
    serve_zenodo(server, {"Infection_Mask.zip": b"new content"})
    with pytest.raises(CovbenchError, match=r"3757476: Infection_Mask\.zip should have md5:0000"):
        fetch_dataset("covid_ct", make_card(Zenodo("3757476", {"Infection_Mask.zip": "0" * 32})), raw, None)
    assert len(server.requests) == 1


def test_a_card_that_names_no_files_takes_the_whole_zenodo_record(server, raw):
    serve_zenodo(server, {"a.zip": zip_bytes({"1.nii.gz": b"one"}), "b.zip": zip_bytes({"1.nii.gz": b"two"})})
    fetch_dataset("covid_ct", make_card(Zenodo("3757476", {})), raw, None)
    assert read_tree(raw) == {"a/1.nii.gz": b"one", "b/1.nii.gz": b"two"}


def test_a_card_may_pin_a_zenodo_file_by_sha256_too(server, raw):
    serve_zenodo(server, {"a.nii": b"true"})
    right, wrong = f"sha256:{hashlib.sha256(b'true').hexdigest()}", f"sha256:{hashlib.sha256(b'fals').hexdigest()}"
    with pytest.raises(CovbenchError, match=rf"a\.nii: wrong sha256: expected {wrong[7:]}, got {right[7:]}"):
        fetch_dataset("covid_ct", make_card(Zenodo("3757476", {"a.nii": wrong})), raw, None)
    fetch_dataset("covid_ct", make_card(Zenodo("3757476", {"a.nii": right})), raw, None)
    assert read_tree(raw) == {"a.nii": b"true"}


def test_a_zenodo_file_name_that_leaves_the_folder_is_refused(server, raw):
    serve_zenodo(server, {"../../evil": b"x"})
    with pytest.raises(CovbenchError, match="is not a plain file name"):
        fetch_dataset("covid_ct", make_card(Zenodo("3757476", {})), raw, None)


def test_a_zenodo_download_that_is_not_what_the_record_says_is_removed(server, raw):
    serve_zenodo(server, {"Infection_Mask.zip": b"true"})
    server.files["/api/records/3757476/files/Infection_Mask.zip/content"].content = b"fals"
    card = make_card(Zenodo("3757476", {"Infection_Mask.zip": hashlib.md5(b"true").hexdigest()}))
    with pytest.raises(CovbenchError, match=r"Infection_Mask\.zip .*wrong md5: expected .*, got"):
        fetch_dataset("covid_ct", card, raw, None)
    assert not raw.exists()
    assert list((raw.parent / ".downloads" / "covid_ct").iterdir()) == []


# --- a mirror ---


def test_a_mirror_is_copied_as_it_stands_and_left_alone_even_where_it_is_read_only(tmp_path, raw):
    files = {"COVID-CT/PROVENANCE.md": b"extra", "COVID-CT/Images/a%1.png": b"ct", "COVID-CT/.git/HEAD": b"clone"}
    mirror = write_tree(tmp_path / "mirror", files)
    for folder in (mirror / "COVID-CT" / "Images", mirror / "COVID-CT"):
        folder.chmod(0o555)
    manifest = fetch_dataset("covid_ct", make_card(), raw, mirror)
    assert read_tree(raw) == {"PROVENANCE.md": b"extra", "Images/a%1.png": b"ct"}
    assert manifest["source"] == "mirror folder COVID-CT"
    assert read_tree(mirror) == files
    (raw / "Images" / "new").touch()  # the copy is not read-only


def test_a_zip_in_a_mirror_is_unpacked_in_the_copy_only(tmp_path, raw):
    packed = zip_bytes({"CT_COVID/a.png": b"ct"})
    mirror = write_tree(tmp_path / "mirror", {"covid_ct/CT_COVID.zip": packed})
    fetch_dataset("covid_ct", make_card(), raw, mirror)
    assert read_tree(raw) == {"CT_COVID/a.png": b"ct"}
    assert read_tree(mirror) == {"covid_ct/CT_COVID.zip": packed}


def test_the_first_mirror_folder_that_exists_is_taken_even_through_a_link(tmp_path, raw):
    write_tree(tmp_path / "disk", {"a.png": b"linked"})
    mirror = write_tree(tmp_path / "mirror", {"covid_ct/a.png": b"second"})
    (mirror / "COVID-CT").symlink_to(tmp_path / "disk")
    fetch_dataset("covid_ct", make_card(), raw, mirror)
    assert read_tree(raw) == {"a.png": b"linked"}
    assert not (raw / "a.png").is_symlink()


def test_a_mirror_without_the_dataset_lists_the_names_that_were_looked_for(tmp_path, raw):
    (tmp_path / "mirror").mkdir()
    with pytest.raises(CovbenchError, match=r"fetch\.mirror: .*mirror holds no folder named COVID-CT or covid_ct"):
        fetch_dataset("covid_ct", make_card(), raw, tmp_path / "mirror")
    with pytest.raises(CovbenchError, match="is not a folder"):
        fetch_dataset("covid_ct", make_card(), raw, tmp_path / "nowhere")


def test_an_empty_mirror_folder_and_a_broken_link_are_named(tmp_path, raw):
    (tmp_path / "COVID-CT").mkdir()
    with pytest.raises(CovbenchError, match="COVID-CT holds no files"):
        fetch_dataset("covid_ct", make_card(), raw, tmp_path)
    (tmp_path / "COVID-CT" / "a.png").symlink_to("gone.png")
    with pytest.raises(CovbenchError, match=r"a\.png is neither a file nor a folder"):
        fetch_dataset("covid_ct", make_card(), raw, tmp_path)
    assert not raw.exists()


@pytest.mark.parametrize(
    "folder", ["COVID-CT", "covid-chestxray-dataset", "covid-segmentation", "sarscov2-ctscan-dataset"]
)
def test_the_real_samples_come_through_a_mirror_byte_for_byte(raw, folder):
    if not SAMPLES.is_dir():
        pytest.skip(f"{SAMPLES} is absent")
    manifest = fetch_dataset("sample", make_card(folders=(folder,)), raw, SAMPLES)
    original = {
        path.relative_to(SAMPLES / folder).as_posix(): path for path in (SAMPLES / folder).rglob("*") if path.is_file()
    }
    assert manifest["files"].keys() == original.keys()
    for name, path in original.items():
        assert manifest["files"][name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


# --- annotations of another source ---


def annotate(card, source):
    return replace(card, annotations=Annotations(source, folder="lesions", mirror_folders=("masks", "other-masks")))


def test_annotations_come_from_their_own_source_into_a_folder_of_the_dataset(server, raw, home):
    one = publish(server, home, {"a.png": b"image"}, repository="o/images")
    two = publish(server, home, {"masks/a.png": b"mask"}, repository="o/masks")
    card = annotate(make_card(GitHub("o/images", one)), GitHub("o/masks", two))
    manifest = fetch_dataset("covid_ct", card, raw, None)
    assert read_tree(raw) == {"a.png": b"image", "lesions/masks/a.png": b"mask"}
    assert manifest["source"] == f"github o/images @{one} and github o/masks @{two}"
    asked = len(server.requests)
    assert fetch_dataset("covid_ct", card, raw, None) == manifest
    assert len(server.requests) == asked


def test_a_mirror_brings_annotations_if_it_holds_them_and_says_so_if_not(tmp_path, raw, caplog):
    caplog.set_level("INFO")
    mirror = write_tree(tmp_path / "mirror", {"COVID-CT/a.png": b"image"})
    card = annotate(make_card(), GitHub("o/masks", COMMIT))
    assert fetch_dataset("covid_ct", card, raw, mirror)["source"] == "mirror folder COVID-CT"
    assert "the mirror holds no masks or other-masks, so the masks of github o/masks" in caplog.text
    write_tree(mirror, {"other-masks/a.png": b"mask"})
    other = raw.parent / "other"
    manifest = fetch_dataset("other", card, other, mirror)
    assert manifest["source"] == "mirror folder COVID-CT and mirror folder other-masks"
    assert read_tree(other) == {"a.png": b"image", "lesions/a.png": b"mask"}


# --- drawn ---


def draw(folder: Path) -> None:
    (folder / "a.png").write_bytes(b"drawn")


def test_a_drawn_dataset_draws_itself_whatever_the_mirror(tmp_path, raw):
    fetch_dataset("phantom", make_card(Synthetic(draw), folders=()), raw, tmp_path)
    assert read_tree(raw) == {"a.png": b"drawn"}


def test_a_dataset_is_synthetic_only_if_it_draws_itself():
    assert make_card(Synthetic(draw)).synthetic
    assert not make_card(GitHub("owner/name", COMMIT)).synthetic
    assert not make_card().synthetic  # for a mirror alone


def test_a_source_that_brings_nothing_is_an_error(raw):
    with pytest.raises(CovbenchError, match="brought no files"):
        fetch_dataset("phantom", make_card(Synthetic(lambda folder: None)), raw, None)
    assert not raw.exists()


# --- the same at every later fetch ---


def test_a_later_fetch_that_differs_fails_although_snakemake_has_deleted_the_manifest(tmp_path, raw):
    mirror = write_tree(tmp_path / "mirror", {"COVID-CT/a.png": b"1", "COVID-CT/b.png": b"2", "COVID-CT/c.png": b"3"})
    fetch_dataset("covid_ct", make_card(), raw, mirror)
    before = read_tree(raw)
    (raw.parent / "covid_ct.manifest.json").unlink()
    (mirror / "COVID-CT" / "a.png").write_bytes(b"!")
    (mirror / "COVID-CT" / "b.png").rename(mirror / "COVID-CT" / "d.png")
    with pytest.raises(CovbenchError) as error:
        fetch_dataset("covid_ct", make_card(), raw, mirror)
    kept = raw.parent / ".manifests" / "covid_ct.json"
    for words in ("a.png (changed)", "b.png (missing)", "d.png (new)", f"delete {kept}"):
        assert words in str(error.value)
    assert "c.png" not in str(error.value)
    assert read_tree(raw) == before
    kept.unlink()
    fetch_dataset("covid_ct", make_card(), raw, mirror)
    assert read_tree(raw) == read_tree(mirror / "COVID-CT")


def test_the_same_files_from_another_source_are_accepted(tmp_path, raw, server, home):
    mirror = write_tree(tmp_path / "mirror", {"COVID-CT/a.png": b"1"})
    fetch_dataset("covid_ct", make_card(), raw, mirror)
    manifest = fetch_dataset("covid_ct", make_card(GitHub("o/r", publish(server, home, {"a.png": b"1"}))), raw, None)
    assert manifest["source"].startswith("github")


def test_a_disk_that_fills_up_while_writing_is_reported_with_what_is_free(tmp_path, raw):
    def draw_on_a_full_disk(folder: Path) -> None:
        with open("/dev/full", "wb") as full:
            full.write(b"x")

    with pytest.raises(CovbenchError, match=r"no space left while writing covid_ct: .* free"):
        fetch_dataset("covid_ct", make_card(Synthetic(draw_on_a_full_disk)), raw, None)
    assert not raw.exists()
    assert not list(raw.parent.glob(".covid_ct*"))
