"""Archives as they come from the internet: the good ones, and those that would harm."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from covbench.data.sources import archives
from covbench.data.sources.archives import lift_only_folder, unpack, unpack_inner_archives
from covbench.schema import CovbenchError
from covbench.system import disk


def write_zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in entries.items():
            zipped.writestr(name, content)
    return path


def write_tar(path: Path, entries: list[tarfile.TarInfo], content: bytes = b"x") -> Path:
    with tarfile.open(path, "w:gz") as tarred:
        for entry in entries:
            entry.size = len(content) if entry.isfile() else 0
            tarred.addfile(entry, io.BytesIO(content) if entry.isfile() else None)
    return path


def tar_entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


def read_tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(archive: Path, words: str) -> None:
    """Refused with these words and the archive's name, and nothing is left beside it."""
    with pytest.raises(CovbenchError, match=words) as error:
        unpack(archive, archive.parent / "out")
    assert archive.name in str(error.value)
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]


def test_a_zip_comes_out_as_it_went_in_without_the_mac_resource_forks(tmp_path):
    entries = {"CT/a%1 (2).png": b"one", "CT/ö.png": b"two", "__MACOSX/CT/._a.png": b"fork", "empty/": b""}
    unpack(write_zip(tmp_path / "a.zip", entries), tmp_path / "out")
    assert read_tree(tmp_path / "out") == {"CT/a%1 (2).png": b"one", "CT/ö.png": b"two"}
    assert (tmp_path / "out" / "empty").is_dir()


def test_a_tar_comes_out_as_it_went_in(tmp_path):
    archive = write_tar(tmp_path / "a.tar.gz", [tar_entry("CT", tarfile.DIRTYPE), tar_entry("CT/a.png")], b"one")
    unpack(archive, tmp_path / "out")
    assert read_tree(tmp_path / "out") == {"CT/a.png": b"one"}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["../evil.png"], "points outside"),
        (["a/../../evil.png"], "points outside"),
        (["/etc/evil.png"], "absolute name"),
        (["C:/evil.png"], "absolute name"),
        (["a\\..\\evil.png"], "backslash"),
        (["a\nb.png"], "control character"),
        (["a.png", "A.PNG"], "differs from 'a.png' in letter case only"),
        (["img/a.png", "Img/b.png"], "differs from 'img' in letter case only"),
        (["é.png", "e\u0301.png"], "letter case only"),  # one name, composed and decomposed
        (["a", "a/b.png"], "appears twice"),
        (["a/b.png", "a"], "appears twice"),
    ],
)
def test_names_that_escape_or_collide_are_refused(tmp_path, names, words):
    assert_refused(write_zip(tmp_path / "a.zip", {"fine.png": b"x"} | dict.fromkeys(names, b"x")), words)
    (tmp_path / "a.zip").unlink()
    assert_refused(write_tar(tmp_path / "a.tar", [tar_entry(name) for name in ["fine.png", *names]]), words)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_given_twice_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("a.png", b"one")
        zipped.writestr("a.png", b"two")
    assert_refused(tmp_path / "a.zip", "appears twice")


def test_a_name_with_a_nul_is_refused(tmp_path):
    write_zip(tmp_path / "a.zip", {"a.pngX.exe": b"x"})
    (tmp_path / "a.zip").write_bytes((tmp_path / "a.zip").read_bytes().replace(b"a.pngX.exe", b"a.png\0.exe"))
    assert_refused(tmp_path / "a.zip", "control character")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "is a link"),
        (tarfile.LNKTYPE, "is a link"),
        (tarfile.CHRTYPE, "not a regular file"),
        (tarfile.FIFOTYPE, "not a regular file"),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind, words):
    entries = [tar_entry("fine.png"), tar_entry("evil", kind, "/etc/passwd")]
    assert_refused(write_tar(tmp_path / "a.tar.gz", entries), words)


def test_a_symbolic_link_in_a_zip_is_refused(tmp_path):
    link = zipfile.ZipInfo("evil")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr("fine.png", b"x")
        zipped.writestr(link, "/etc/passwd")
    assert_refused(tmp_path / "a.zip", "is a link")


def test_an_encrypted_zip_is_refused(tmp_path):
    write_zip(tmp_path / "a.zip", {"a.png": b"x"})
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1  # bit 0 of the flags in the central directory
    (tmp_path / "a.zip").write_bytes(content)
    assert_refused(tmp_path / "a.zip", "is encrypted")


def test_a_bomb_of_195_kB_that_becomes_200_MB_is_refused(tmp_path):
    write_zip(tmp_path / "a.zip", {"zeros": bytes(200_000_000)})
    assert (tmp_path / "a.zip").stat().st_size < 200_000
    assert_refused(tmp_path / "a.zip", r"would become 200\.0 MB or more, beyond the limits")


def test_one_hot_masks_are_no_bomb(tmp_path):
    masks = np.zeros((98, 512, 512, 4), np.int8)  # as the MedSeg masks: mostly background, a lesion in each slice
    masks[..., 3] = 1
    rng = np.random.default_rng(1)
    for mask, (row, column) in zip(masks, rng.integers(50, 350, (98, 2)), strict=True):
        lesion = rng.random((100, 100)) < 0.5
        mask[row : row + 100, column : column + 100, 0] = lesion
        mask[row : row + 100, column : column + 100, 3] = ~lesion
    unpack(write_zip(tmp_path / "a.zip", {"masks.npy": masks.tobytes()}), tmp_path / "out")
    assert (tmp_path / "out" / "masks.npy").stat().st_size == masks.nbytes


@pytest.mark.parametrize(
    ("limit", "value", "words"), [("MAX_FILES", 2, "more than 2 entries"), ("MAX_BYTES", 5, "beyond")]
)
def test_too_many_files_and_too_many_bytes_are_refused(tmp_path, monkeypatch, limit, value, words):
    monkeypatch.setattr(archives, limit, value)
    assert_refused(write_zip(tmp_path / "a.zip", {"a": b"xx", "b": b"xx", "c": b"xx"}), words)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_a_damaged_archive_leaves_nothing_behind(tmp_path, name):
    content = np.random.default_rng(1).bytes(100_000)
    if name == "a.zip":
        with zipfile.ZipFile(tmp_path / name, "w") as zipped:
            zipped.writestr("fine.png", b"x")
            zipped.writestr("a.png", content)
    else:
        write_tar(tmp_path / name, [tar_entry("fine.png"), tar_entry("a.png")], content)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[:60_000])
    assert_refused(tmp_path / name, "damaged")
    (tmp_path / name).write_bytes(whole[:50_000] + bytes([whole[50_000] ^ 255]) + whole[50_001:])
    assert_refused(tmp_path / name, "damaged")


def test_something_that_is_no_archive_is_called_so(tmp_path):
    (tmp_path / "a.zip").write_text("<html>sign in")
    assert_refused(tmp_path / "a.zip", "damaged, or not a readable archive")


def test_an_archive_larger_than_the_disk_is_refused_before_a_file_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "SPARE_BYTES", 10**18)
    write_zip(tmp_path / "a.zip", {"a.npy": b"x"})
    assert_refused(tmp_path / "a.zip", r"no space left for the content of a\.zip: it needs 1 B")


def test_an_inner_zip_becomes_the_folder_of_its_name_whether_or_not_it_holds_that_folder(tmp_path):
    data = tmp_path / "Images-processed"
    data.mkdir()
    write_zip(data / "CT_COVID.zip", {"CT_COVID/a.png": b"one", "__MACOSX/CT_COVID/._a.png": b"fork"})
    write_zip(data / "Infection_Mask.ZIP", {"case_1.nii.gz": b"two"})
    unpack_inner_archives(tmp_path)
    assert read_tree(tmp_path) == {
        "Images-processed/CT_COVID/a.png": b"one",
        "Images-processed/Infection_Mask/case_1.nii.gz": b"two",
    }


def test_an_archive_inside_an_inner_archive_stays_packed(tmp_path):
    inner = write_zip(tmp_path / "inner.zip", {"a.png": b"one"}).read_bytes()
    write_zip(tmp_path / "outer.zip", {"inner.zip": inner})
    (tmp_path / "inner.zip").unlink()
    unpack_inner_archives(tmp_path)
    assert read_tree(tmp_path) == {"outer/inner.zip": inner}


def test_an_inner_zip_whose_folder_is_there_already_is_left_alone(tmp_path):
    write_zip(tmp_path / "CT_COVID.zip", {"CT_COVID/a.png": b"packed"})
    (tmp_path / "CT_COVID").mkdir()
    (tmp_path / "CT_COVID" / "a.png").write_bytes(b"there")
    unpack_inner_archives(tmp_path)
    assert (tmp_path / "CT_COVID" / "a.png").read_bytes() == b"there"
    assert (tmp_path / "CT_COVID.zip").exists()


def test_only_a_single_folder_is_lifted(tmp_path):
    (tmp_path / "out" / "top" / "top").mkdir(parents=True)
    assert lift_only_folder(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["top"]
    (tmp_path / "out" / "readme").touch()
    assert not lift_only_folder(tmp_path / "out")
