"""Decoded images are kept by content, believed only while whole, and never needed."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from covbench.audit.thumbnails import make_thumbnails
from covbench.data import decoded_store, row_images
from covbench.data.datasets import TASKS
from covbench.data.decoded_store import DECODERS, DecodedStore, open_store
from covbench.data.index import build_index
from covbench.data.prepare import prepare_images
from covbench.schema import CovbenchError
from covbench.system import disk

TASK, PICTURES, SLICES, SHA = TASKS["covid_ct"], 6, 4, "ab" * 32
FILES = PICTURES + 1


def draw(seed=0, shape=(30, 20)):
    return np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)


def key_of(number):
    return bytes([number]) * 32


@pytest.fixture
def raw(tmp_path):
    """A dataset of pictures and a volume, one picture of which is excluded."""
    folder = tmp_path / "data/raw/covid_ct"
    folder.mkdir(parents=True)
    for number in range(PICTURES):
        Image.fromarray(draw(number)).save(folder / f"{number}.png")
    volume = np.random.default_rng(9).integers(-1000, 300, (24, 20, SLICES)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / "v.nii.gz")
    return folder


@pytest.fixture
def decoded(monkeypatch):
    """The files that were decoded, in order."""
    opened = []
    for name in ("read_images", "read_frames"):
        function = getattr(row_images, name)
        monkeypatch.setattr(
            row_images,
            name,
            lambda path, *rest, function=function: [opened.append(path.name), function(path, *rest)][1],
        )
    return opened


def index(raw):
    label = {"modality": "ct", "label": TASK.classes[0]}
    rows = [{"image_id": f"{n}", "path": f"{n}.png", **label} for n in range(PICTURES)]
    rows[0]["reason"] = "lateral"
    window = {"window_low": -1000.0, "window_high": 400.0}
    rows += [{"image_id": f"v#{n}", "path": "v.nii.gz", "frame": n, **window, **label} for n in range(SLICES)]
    return build_index(rows, raw)


def make_all(raw, table):
    """Thumbnails and arrays of two sizes, as bytes."""
    small = make_thumbnails(table, raw, 128)
    arrays = []
    for side, resize in ((16, "antialias"), (24, "linear")):
        prepare_images(table, raw, TASK, side, raw.parents[2] / "out/images.npy", resize)
        arrays.append((raw.parents[2] / "out/images.npy").read_bytes())
    return [small.images.tobytes(), small.hashes.tobytes(), small.shapes.tobytes(), *arrays]


def store_files(raw):
    return sorted((raw.parents[1] / "decoded/covid_ct").iterdir())


def test_index_thumbnails_and_arrays_of_two_sizes_decode_each_file_once_and_are_those_of_files_decoded_anew(
    raw, decoded
):
    table = index(raw)
    found = make_all(raw, table)
    assert sorted(decoded) == sorted(path.name for path in raw.iterdir())
    elsewhere = raw.rename(raw.parents[1] / "elsewhere")  # in no folder `raw`, so nothing is kept
    assert make_all(elsewhere, table) == found
    assert len(decoded) == FILES + 3 * (FILES - 1)  # the excluded picture is only indexed


def test_the_index_decodes_whatever_is_kept(raw, decoded):
    index(raw)
    before = [path.read_bytes() for path in store_files(raw)]
    index(raw)
    assert len(decoded) == 2 * FILES
    assert [path.read_bytes() for path in store_files(raw)] == before


@pytest.mark.parametrize("kind", ["marks", "pixels"])
@pytest.mark.parametrize("damage", ["cut", "noise", "zeros", "lost"])
def test_what_is_damaged_is_decoded_anew_and_kept_again(raw, decoded, kind, damage):
    table = index(raw)
    whole = make_all(raw, table)
    path = next(path for path in store_files(raw) if path.suffix == f".{kind}")
    content = path.read_bytes()
    half = len(content) // 2
    change = {"cut": content[: half + 5], "noise": content[:half] + draw(3, half).tobytes(), "zeros": bytes(half * 2)}
    path.unlink() if damage == "lost" else path.write_bytes(change[damage])
    decoded.clear()
    assert make_all(raw, table) == whole
    assert 0 < len(decoded) <= FILES - 1
    decoded.clear()
    assert make_all(raw, table) == whole
    assert decoded == []


def test_the_folder_may_be_deleted_while_it_is_in_use(raw, decoded):
    table = index(raw)
    with open_store(raw) as store:
        for path in store_files(raw):
            path.unlink()
        path.parent.rmdir()
        store.keep(key_of(1), SHA, draw())
        assert store.read(key_of(1))[0] == SHA
    whole = make_all(raw, table)
    decoded.clear()
    assert make_all(raw, table) == whole
    assert decoded == []


def test_another_window_and_a_changed_file_are_decoded(raw, decoded):
    table = index(raw)
    decoded.clear()
    make_thumbnails(table.assign(window_low=-900.0), raw, 128)
    assert len(decoded) == FILES - 1
    decoded.clear()
    Image.fromarray(draw(60)).save(raw / "1.png")
    with pytest.raises(CovbenchError, match=r"1\.png: is not what was indexed"):
        make_thumbnails(table, raw, 128)
    assert decoded == []


def test_a_file_that_changes_while_it_is_decoded_is_not_kept(raw, tmp_path):
    path = raw / "1.png"
    file = row_images.hash_raw(path)
    Image.fromarray(draw(50)).save(path)
    rows = index(raw).iloc[[1]]
    with DecodedStore(tmp_path / "other") as store:
        list(row_images.decode_rows(rows, file, store))
        assert store.read(next(row_images._name_images(rows, file))) is None


def test_two_stores_share_what_they_keep_and_a_cut_mark_is_written_over(tmp_path):
    with DecodedStore(tmp_path) as one, DecodedStore(tmp_path) as two:
        one.keep(key_of(1), SHA, draw(1))
        assert np.array_equal(two.read(key_of(1))[1], draw(1))
        marks = next(tmp_path.glob("*.marks"))
        with marks.open("ab") as file:
            file.write(b"a killed process wrote this")
        two.keep(key_of(2), SHA, draw(2))
        one.keep(key_of(2), SHA, draw(2))
        assert np.array_equal(one.read(key_of(2))[1], draw(2))
    assert next(tmp_path.glob("*.pixels")).stat().st_size == 2 * draw().size


FILL = """
import sys
from pathlib import Path
import numpy as np
from covbench.data.decoded_store import DecodedStore
with DecodedStore(Path(sys.argv[1])) as store:
    print("open", flush=True)
    for number in np.random.default_rng(int(sys.argv[2])).permutation(200).tolist():
        store.keep(bytes([number]) * 32, "ab" * 32, np.full((300, 200), number, np.uint8))
"""


def test_three_jobs_fill_one_store_and_one_that_is_killed_leaves_nothing_that_is_believed(tmp_path):
    command = [sys.executable, "-c", FILL, str(tmp_path)]
    jobs = [subprocess.Popen([*command, str(seed)], stdout=subprocess.PIPE) for seed in range(3)]
    assert jobs[0].stdout.readline() == b"open\n"
    jobs[0].kill()
    for job in jobs:
        job.communicate()
    assert [job.returncode for job in jobs[1:]] == [0, 0]
    with DecodedStore(tmp_path) as store:
        for number in range(200):
            assert np.array_equal(store.read(key_of(number))[1], np.full((300, 200), number))
    kept = next(tmp_path.glob("*.pixels")).stat().st_size / (300 * 200)
    assert 200 <= kept <= 201  # none twice; the killed job may have been at one


def test_an_almost_full_disk_keeps_nothing_and_changes_nothing(raw, decoded, monkeypatch, caplog):
    monkeypatch.setattr(disk, "LEFT_BY_CACHES", 10**18)
    table = index(raw)
    make_all(raw, table)
    assert len(decoded) == FILES + 3 * (FILES - 1)
    assert "decoded images are not kept" in caplog.text
    assert [path.stat().st_size for path in store_files(raw)] == [0, 0]


@pytest.mark.parametrize("step", ["open", "write"])
def test_a_store_that_cannot_be_written_keeps_nothing(tmp_path, monkeypatch, step):
    def refuse(*_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(decoded_store, "open_at_any_position" if step == "open" else "write_at", refuse)
    with DecodedStore(tmp_path) as store:
        store.keep(key_of(1), SHA, draw())
        assert store.read(key_of(1)) is None


def test_files_of_other_versions_are_removed(tmp_path, monkeypatch):
    with DecodedStore(tmp_path) as store:
        store.keep(key_of(1), SHA, draw())
    monkeypatch.setattr(decoded_store, "PACKAGES", ("numpy",))
    with DecodedStore(tmp_path) as store:
        assert store.read(key_of(1)) is None
    assert len(list(tmp_path.iterdir())) == 2


def test_every_module_that_decodes_is_part_of_the_version():
    """What covbench.data.row_images imports of its own package, directly or not, except the store."""
    folder, waiting, found = Path(row_images.__file__).parent, ["row_images"], set()
    while waiting:
        name = waiting.pop()
        found.add(name)
        tree = ast.parse((folder / f"{name}.py").read_text())
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        own = {module.rpartition(".")[2] for module in modules if module.startswith("covbench.data.")}
        waiting += sorted(own - found - {"decoded_store"})
    assert found == set(DECODERS)
