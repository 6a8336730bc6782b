"""Files that were damaged, edited or lost between two stages. Each is caught before a number reaches a table."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import chdir, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from covbench.audit.thumbnails import make_thumbnails
from covbench.cli import main
from covbench.data.datasets import TASKS
from covbench.data.fetched_files import require_fetched
from covbench.data.index import build_index
from covbench.data.prepare import prepare_images, prepare_masks, prepare_native_masks
from covbench.data.sources.manifests import build_manifest, write_manifests
from covbench.evaluation.comparison.compare import compare_runs
from covbench.evaluation.score import score_run, score_unscored
from covbench.experiment.plan import plan_run
from covbench.experiment.provenance import fingerprint_inputs
from covbench.experiment.records import seal_record
from covbench.experiment.runs import RunState, examine_runs
from covbench.experiment.verify import verify
from covbench.protocols import protocol_options
from covbench.reporting.gather import read_prepared, read_split
from covbench.reporting.page import replace_folder
from covbench.reporting.summary import require_tables
from covbench.schema import CovbenchError, Run
from covbench.system import content_hashes
from covbench.system.content_hashes import checksum_path, hash_content, stamp_path
from covbench.system.files import hash_file, write_json, write_table, write_whole
from covbench.system.stage_files import check_files, seal_files
from covbench.training.baseline_job import fit_baseline_run
from covbench.training.checkpoints import keep_outputs, publish_kept
from tests.small_disk import needs_small_disk, on_small_disk

TASK, PIXELS, SIDE, IMAGES = TASKS["covid_ct"], TASKS["zenodo_infection"], 32, 24
CONFIG = {"weights": "none", "deterministic": True, "precision": "float32", "threads": 1}
MODEL, OTHER = (Run("covid_ct", "audited", name, 0) for name in ("intensity_logistic", "majority"))
PLAN = [plan_run(CONFIG, run, protocol_options("audited", TASK)) for run in (MODEL, OTHER)]
SPLIT, IMAGES_PATH, ROWS = PLAN[0].inputs.split, PLAN[0].inputs.images, PLAN[0].inputs.rows
RAW, LESIONS = Path("data/raw/covid_ct"), Path("data/raw/zenodo")
NOTHING = pd.DataFrame(columns=["task", "kind", "architecture", "backbone", "metric", "value", "source"])
DEAD = 2**22 + 7
"""The id of a process that cannot be there: above the kernel's limit."""


def draw_raw(folder, rng):
    """Pictures with masks, and a volume of four slices: rows of an index."""
    rows = []
    for number in range(IMAGES):
        values = rng.integers(0, 120, (40, 36), dtype=np.uint8)
        values[5:20, 5:20] += 100 * (number % 2)
        mask = np.zeros((40, 36), np.uint8)
        mask[6:12, 6:12] = 255
        for kind, picture in (("images", values), ("masks", mask)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / kind / f"{number}.png")
        name = {"image_id": f"i{number}", "patient_id": f"p{number // 2}", "path": f"images/{number}.png"}
        mask_of = {"mask": f"masks/{number}.png", "mask_values": "128-255:infection"}
        rows.append({**name, **mask_of, "label": TASK.classes[number % 2], "modality": "ct"})
    volume = rng.integers(-1000, 300, (24, 24, 4)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / "volume.nii.gz")
    window = {"path": "volume.nii.gz", "modality": "ct", "window_low": -1000.0, "window_high": 400.0}
    for frame in range(4):
        rows.append({"image_id": f"v#{frame}", "patient_id": "v", "frame": frame, "label": TASK.classes[1], **window})
    rows[-2]["reason"] = "no lung"
    return rows


def divide(index):
    """Folds by patient, with both classes in each."""
    fold = [
        ("train", "train", "val", "test")[int(name[1:]) % 4] if name != "v" else "train" for name in index["patient_id"]
    ]
    split = index[["image_id", "patient_id", "source"]].assign(copy=0, group=index["patient_id"], fold=fold)
    split["duplicate_set"] = index["image_id"]
    split["label"] = [TASK.classes.index(label) for label in index["label"]]
    return split


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with what fetch, index, split, prepare, fit, evaluate and compare have left of two baselines."""
    root = tmp_path_factory.mktemp("made")
    raw = root / RAW
    index = build_index(draw_raw(raw, np.random.default_rng(0)), raw)
    usable = index[~index["excluded"]].reset_index(drop=True)
    write_manifests(raw, build_manifest(raw, "drawn"))
    tables = {root / "data/index/covid_ct.parquet": index, root / SPLIT: divide(usable)}
    tables[root / ROWS] = prepare_images(index, raw, TASK, SIDE, root / IMAGES_PATH)
    for path, table in tables.items():
        write_table(path, table)
    seal_files(tables)
    for planned in PLAN:
        fit(root, planned)
        score_run(planned.run, "", None, root)
    leave_tables(root)
    return root


def fit(root, planned):
    folder = root / planned.run.folder
    outputs = {"manifest": str(folder / "manifest.json"), "predictions": str(folder / "predictions.parquet")}
    inputs = planned.inputs
    with chdir(root):  # features are kept below the working directory
        fit_baseline_run(planned.run, str(root / inputs.split), [str(root / p) for p in inputs.prepared], outputs)


def leave_tables(root):
    paths = []
    for name in ("runs", "summary", "metrics", "published", "protocols", "ranks"):
        paths.append(root / "results/compare" / f"{name}.csv")
        write_table(paths[-1], compare(root)[name])
    seal_files(paths)


def compare(root):
    return compare_runs(PLAN, NOTHING, NOTHING, root)


@pytest.fixture
def root(made, tmp_path):
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


# What damages a file. Each keeps the date of the file, as a bad disk and a careful hand do.


def keeping_date(change):
    def damage(path):
        before = path.stat()
        change(path)
        if path.exists():
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    damage.__name__ = change.__name__
    return damage


@keeping_date
def cut(path):
    path.write_bytes(path.read_bytes()[:-60])


@keeping_date
def half_noise(path):
    content = path.read_bytes()
    half = len(content) // 2
    with open(path, "r+b") as file:
        file.seek(half)
        file.write(np.random.default_rng(1).bytes(len(content) - half))


@keeping_date
def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


@keeping_date
def empty(path):
    path.write_bytes(b"")


@keeping_date
def lose(path):
    path.unlink()


@keeping_date
def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


def edit_table(**columns):
    @keeping_date
    def edit(path):
        table = pd.read_parquet(path)
        table.assign(**{name: change(table) for name, change in columns.items()}).to_parquet(path, index=False)

    return edit


def edit_json(**values):
    @keeping_date
    def edit(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | values, indent=1))

    return edit


def edit_score(path):
    record = json.loads(path.read_text())
    record["metrics"]["accuracy"] = 0.99
    path.write_text(json.dumps(record))


move_val_to_train = edit_table(fold=lambda table: table["fold"].where(table["fold"] != "val", "train"))
swap_labels = edit_table(label=lambda table: 1 - table["label"])
all_right = edit_table(p_0=lambda table: 1.0 - table["truth"], p_1=lambda table: 1.0 * table["truth"])
other_answers = edit_table(predicted=lambda table: 1 - table["truth"])


# Files of one run: status, tables and report show the run as failed with its reason, and the other one stands.

OF_A_RUN = [
    ("manifest.json", cut, "manifest.json cannot be read"),
    ("manifest.json", empty, "manifest.json cannot be read"),
    ("manifest.json", edit_json(seconds=1.0), "its content is not what was written"),
    ("manifest.json", edit_json(finished="2199-01-01T00:00:00+00:00"), "its content is not what was written"),
    ("manifest.json", edit_json(fingerprint="0" * 64), "its content is not what was written"),
    ("manifest.json", lose, "manifest.json is missing"),
    ("predictions.parquet", cut, "predictions.parquet is not what was written"),
    ("predictions.parquet", empty, "predictions.parquet is not what was written"),
    ("predictions.parquet", flip_bit, "predictions.parquet is not what was written"),
    ("predictions.parquet", all_right, "predictions.parquet is not what was written"),
    ("predictions.parquet", lose, "predictions.parquet is missing"),
    ("metrics.json", cut, "metrics.json cannot be read"),
    ("metrics.json", edit_score, "metrics.json cannot be read (its content is not what was written)"),
    ("metrics.json", edit_json(images=10_000), "metrics.json cannot be read (its content is not what was written)"),
    ("metrics.json", lose, "metrics.json is missing"),
    ("cases.parquet", cut, "cases.parquet cannot be read (it is not what was written)"),
    ("cases.parquet", flip_bit, "cases.parquet cannot be read (it is not what was written)"),
    ("cases.parquet", other_answers, "cases.parquet cannot be read (it is not what was written)"),
    ("cases.parquet", lose, "cases.parquet is missing"),
]


def names(rows):
    return [f"{name}-{getattr(damage, '__name__', 'edit')}-{number}" for number, (name, damage, *_) in enumerate(rows)]


@pytest.mark.parametrize(("name", "damage", "words"), OF_A_RUN, ids=names(OF_A_RUN))
def test_a_damaged_file_of_a_run_fails_this_run_alone(root, name, damage, words):
    damage(root / MODEL.folder / name)
    failed, other = examine_runs(PLAN, root)
    assert (failed.state, other.state) == (RunState.FAILED, RunState.SCORED)
    assert words in failed.reason
    assert failed.reason.endswith(f"make it again: snakemake --cores 8 --forcerun {MODEL.folder}/{name}")
    tables = compare(root)
    assert tables["runs"]["reason"].tolist() == [failed.reason, ""]
    assert set(tables["metrics"]["architecture"]) == {OTHER.architecture}
    score_unscored(PLAN, root)  # as a partial report does
    assert examine_runs(PLAN, root)[0].reason == failed.reason


def test_a_manifest_from_the_future_is_not_trusted_though_its_seal_fits(root):
    path = root / MODEL.folder / "manifest.json"
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat(timespec="seconds")
    write_json(path, seal_record(json.loads(path.read_text()) | {"finished": later}))
    record = examine_runs(PLAN, root)[0]
    assert record.state is RunState.FAILED
    assert "in the future" in record.reason


def test_the_folder_of_another_run_is_named_and_not_reported_as_this_one(root):
    shutil.rmtree(root / MODEL.folder)
    shutil.copytree(root / OTHER.folder, root / MODEL.folder)
    record = examine_runs(PLAN, root)[0]
    assert record.state is RunState.FAILED
    assert "it is that of another run" in record.reason


def test_inputs_that_were_edited_to_those_of_the_plan_do_not_make_a_run_current(root):
    path = root / MODEL.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["inputs"]["files"]["split"] = "0" * 64
    write_json(path, seal_record(manifest))
    assert "its fingerprint is not that of its inputs" in examine_runs(PLAN, root)[0].reason
    write_json(path, seal_record(manifest | {"fingerprint": fingerprint_inputs(manifest["inputs"])}))
    assert examine_runs(PLAN, root)[0].state is RunState.STALE


def test_scores_of_other_predictions_are_not_those_of_this_run(root):
    """As where metrics and cases of one run were copied into another, or a run was predicted again."""
    for name in ("metrics.json", "cases.parquet", "cases.parquet.sha256"):
        shutil.copy2(root / OTHER.folder / name, root / MODEL.folder / name)
    record = examine_runs(PLAN, root)[0]
    assert (record.state, record.metrics) == (RunState.TRAINED, {})
    assert "its scores were made from other predictions" in record.reason
    score_unscored(PLAN, root)
    assert examine_runs(PLAN, root)[0].state is RunState.SCORED


def test_predictions_of_another_run_with_their_checksum_file_are_not_scored(root):
    """Of another seed: the rows or the seed are others than the split's."""
    folder = root / MODEL.folder
    table = pd.read_parquet(folder / "predictions.parquet").assign(seed=7)
    write_table(folder / "predictions.parquet", table)
    seal_files([folder / "predictions.parquet"])
    with pytest.raises(CovbenchError, match=r"predictions\.parquet: its rows are not .* make it again"):
        score_run(MODEL, "", None, root)


def test_scores_of_an_earlier_version_are_made_again_and_nothing_is_trained(root):
    folder = root / MODEL.folder
    found = json.loads((folder / "metrics.json").read_text())
    before = {key: value for key, value in found.items() if key not in ("seal", "files", "fingerprint")}
    write_json(folder / "metrics.json", before)
    assert "scored by an earlier version" in examine_runs(PLAN, root)[0].reason
    score_unscored(PLAN, root)
    assert json.loads((folder / "metrics.json").read_text()) == found


# Files that a job reads: the job ends with one sentence before it computes.

READ_BY_A_TRAINING = [
    (IMAGES_PATH, half_noise, "images.npy is not what was written"),
    (IMAGES_PATH, cut, "images.npy is not what was written"),
    (IMAGES_PATH, flip_bit, "images.npy is not what was written"),
    (IMAGES_PATH, zeros, "images.npy is not what was written"),
    (IMAGES_PATH, lose, "images.npy is missing"),
    (ROWS, edit_table(image_id=lambda table: table["image_id"][::-1].tolist()), "rows.parquet is not what was written"),
    (SPLIT, move_val_to_train, "0.parquet is not what was written"),
    (SPLIT, swap_labels, "0.parquet is not what was written"),
    (SPLIT, cut, "0.parquet is not what was written"),
    (SPLIT, empty, "0.parquet is not what was written"),
    (f"{SPLIT}.sha256", empty, "holds no sha256"),
    (f"{SPLIT}.sha256", lambda path: path.write_text(f"{'0' * 64}  1.parquet\n"), "is that of 1.parquet"),
]


@pytest.mark.parametrize(("name", "damage", "words"), READ_BY_A_TRAINING, ids=names(READ_BY_A_TRAINING))
def test_a_training_refuses_inputs_that_are_not_what_their_stage_wrote(root, name, damage, words):
    before = read_all(root / MODEL.folder)
    damage(root / name)
    with pytest.raises(CovbenchError) as refused:
        fit(root, PLAN[0])
    assert words in str(refused.value)
    assert "make it again: snakemake --cores 8 --forcerun" in str(refused.value)
    assert read_all(root / MODEL.folder) == before


def read_all(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("name", "damage"), [(IMAGES_PATH, half_noise), (SPLIT, move_val_to_train)])
def test_runs_on_damaged_inputs_are_refused_by_the_comparison_with_the_remedy(root, name, damage):
    damage(root / name)
    assert [record.state for record in examine_runs(PLAN, root)] == [RunState.STALE, RunState.STALE]
    with pytest.raises(CovbenchError, match=f"make it again: snakemake --cores 8 --forcerun {name}"):
        compare(root)


def test_the_report_leaves_out_pictures_and_counts_of_damaged_data_and_says_so(root, caplog):
    assert read_prepared(root / "data", "covid_ct") is not None
    half_noise(root / IMAGES_PATH)
    move_val_to_train(root / SPLIT)
    assert read_prepared(root / "data", "covid_ct") is None
    assert read_split(root / "data", "covid_ct", "audited") is None
    assert caplog.text.count("left out of the report") == 2


def test_an_edited_table_of_the_comparison_is_not_summarized(root):
    path = root / "results/compare/summary.csv"
    require_tables(root / "results")
    path.write_text(path.read_text().replace("accuracy", "accuracy", 1).replace("0.", "1.", 1))
    with pytest.raises(CovbenchError, match=r"summary\.csv is not what was written"):
        require_tables(root / "results")


# Raw files that were replaced between fetch, index and prepare.


def other_picture(path):
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


def other_volume(path):
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj)[::-1].copy(), image.affine), path)


def pack_again(path):
    """The same volume in other bytes: the slices are still those of the index."""
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))


REPLACED = [
    ("images/3.png", other_picture, "images/3.png: is not what was indexed"),
    ("images/3.png", lose, "images/3.png: not found, but the index lists it"),
    ("volume.nii.gz", other_volume, "volume.nii.gz: frame 0 is not what was indexed"),
]


@pytest.mark.parametrize(("name", "damage", "words"), REPLACED, ids=names(REPLACED))
def test_prepare_and_thumbnails_refuse_a_picture_that_was_not_indexed(root, tmp_path, name, damage, words):
    index, raw = pd.read_parquet(root / "data/index/covid_ct.parquet"), root / RAW
    damage(raw / name)
    with pytest.raises(CovbenchError) as refused:
        prepare_images(index, raw, TASK, SIDE, tmp_path / "new/images.npy")
    assert words in str(refused.value)
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(CovbenchError) as refused:
        make_thumbnails(index, raw, 128)
    assert words in str(refused.value)


def test_a_volume_that_was_packed_again_is_prepared_as_before(root, tmp_path):
    index, raw = pd.read_parquet(root / "data/index/covid_ct.parquet"), root / RAW
    pack_again(raw / "volume.nii.gz")
    prepare_images(index, raw, TASK, SIDE, tmp_path / "images.npy")
    assert hash_file(tmp_path / "images.npy") == hash_file(root / IMAGES_PATH)


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("images/3.png", other_picture, "images/3.png is not what was fetched"),
        ("masks/3.png", other_picture, "masks/3.png is not what was fetched"),
        ("images/3.png", lose, "images/3.png is missing"),
        ("images/new.png", lambda path: path.write_bytes(b"x"), "images/new.png was not fetched"),
        ("../covid_ct.manifest.json", cut, "covid_ct.manifest.json: damaged"),
    ],
)
def test_the_index_refuses_files_that_are_not_what_was_fetched(root, name, damage, words):
    require_fetched(root / RAW)
    damage(root / RAW / name)
    with pytest.raises(CovbenchError) as refused:
        require_fetched(root / RAW)
    assert words in str(refused.value)
    assert f"--forcerun {root / 'data/raw/covid_ct.manifest.json'}" in str(refused.value)


@pytest.mark.parametrize("prepare", [prepare_masks, prepare_native_masks])
def test_a_replaced_mask_is_not_prepared(root, tmp_path, prepare):
    index, raw = pd.read_parquet(root / "data/index/covid_ct.parquet"), root / RAW
    size = (SIDE,) if prepare is prepare_masks else ()
    prepare(index, raw, PIXELS, *size, tmp_path / "masks.npy")
    other_picture(raw / "masks/5.png")
    with pytest.raises(CovbenchError, match=r"masks/5\.png is not what was fetched"):
        prepare(index, raw, PIXELS, *size, tmp_path / "masks.npy")


# Stamps spare the reading of large arrays where nothing is computed from them.


@pytest.fixture
def large(tmp_path, monkeypatch):
    """An array that counts as large, hashed long enough after its last change for its stamp to be trusted."""
    monkeypatch.setattr(content_hashes, "LARGE", 1000)
    path = tmp_path / "images.npy"
    np.save(path, np.arange(4000))
    time.sleep(0.05)
    hash_content(path)
    monkeypatch.setattr(content_hashes, "hash_file", lambda _: "read anew")
    assert hash_content(path) == hash_file(path)
    return path


def edit_stamp(**values):
    def edit(path):
        stamp = json.loads(stamp_path(path).read_text())
        stamp_path(path).write_text(json.dumps(stamp | values))

    return edit


def copy_over(path):
    shutil.copy2(path, path.with_name("copy"))
    os.replace(path.with_name("copy"), path)


def replace_stamp_date(path):
    os.utime(stamp_path(path), (2**32, 2**32))
    half_noise(path)


NOT_TRUSTED = [
    ("half of it noise, its date kept", half_noise),
    ("a flipped bit, its date kept", flip_bit),
    ("another file with the same date", copy_over),
    ("a stamp from the future", edit_stamp(hashed_at=time.time_ns() + 10**15)),
    ("a stamp file with a date in the future", replace_stamp_date),
    ("a stamp from before the last change", edit_stamp(hashed_at=0)),
    ("a stamp of another size", edit_stamp(size=1)),
    ("a stamp that is no object", lambda path: stamp_path(path).write_text("[]")),
    ("a stamp cut short", lambda path: cut(stamp_path(path))),
    ("no stamp", lambda path: stamp_path(path).unlink()),
]


@pytest.mark.parametrize("damage", [damage for _, damage in NOT_TRUSTED], ids=[name for name, _ in NOT_TRUSTED])
def test_a_stamp_that_does_not_fit_is_not_trusted(large, damage):
    damage(large)
    assert hash_content(large) == "read anew"


def test_a_job_reads_every_byte_whatever_the_stamp_says(tmp_path, monkeypatch):
    monkeypatch.setattr(content_hashes, "LARGE", 1000)
    path = tmp_path / "images.npy"
    np.save(path, np.arange(4000))
    seal_files([path])
    found = hash_content(path)
    half_noise(path)
    now = path.stat()
    fitting = {"size": now.st_size, "inode": now.st_ino, "mtime": now.st_mtime_ns, "ctime": now.st_ctime_ns}
    write_json(stamp_path(path), {"sha256": found, "hashed_at": now.st_ctime_ns + 10**8, **fitting})
    time.sleep(0.15)
    assert hash_content(path) == found
    with pytest.raises(CovbenchError, match=r"images\.npy is not what was written"):
        check_files([path])


# Kept outputs.


@pytest.fixture
def kept(tmp_path):
    """The outputs of a finished training and the folder that keeps them."""
    outputs = {
        name: str(tmp_path / "results" / file)
        for name, file in (("model", "model.keras"), ("manifest", "manifest.json"))
    }
    (tmp_path / "results").mkdir()
    for name, path in outputs.items():
        Path(path).write_text(f"{name} " * 100)
    keep_outputs(tmp_path / "checkpoints/this", outputs)
    return tmp_path / "checkpoints/this", outputs


def damage_kept(folder, outputs, how):
    if how == "edited through its hard link":
        with open(outputs["model"], "r+b") as file:
            file.write(b"forged")
    elif how == "cut":
        cut(folder / "finished/model.keras")
    elif how == "lost":
        (folder / "finished/model.keras").unlink()
    elif how == "a manifest that was edited":
        (folder / "finished/manifest.json").write_text("{}")
    else:
        (folder / "finished/outputs.json").write_text("{")


@pytest.mark.parametrize(
    "how", ["edited through its hard link", "cut", "lost", "a manifest that was edited", "no list"]
)
def test_damaged_kept_outputs_are_not_published_and_the_log_says_so(kept, caplog, how):
    folder, outputs = kept
    damage_kept(folder, outputs, how)
    before = read_all(Path(outputs["model"]).parent)
    assert not publish_kept(folder, outputs)
    assert "is damaged" in caplog.text
    assert "the run is trained again" in caplog.text
    assert read_all(Path(outputs["model"]).parent) == before
    assert not (folder / "finished").exists()


def test_kept_outputs_of_an_earlier_version_are_published_with_a_word_in_the_log(kept, caplog):
    folder, outputs = kept
    write_json(folder / "finished/outputs.json", {name: Path(path).name for name, path in outputs.items()})
    assert publish_kept(folder, outputs)
    assert caplog.text.count("was kept without its hash") == 2
    assert checksum_path(Path(outputs["model"])).exists()


# covbench verify.

EVERYWHERE = [
    (RAW / "images/3.png", flip_bit, "data/raw/covid_ct.manifest.json"),
    (RAW / "masks/3.png", lose, "data/raw/covid_ct.manifest.json"),
    ("data/index/covid_ct.parquet", flip_bit, "data/index/covid_ct.parquet"),
    (SPLIT, move_val_to_train, SPLIT),
    (IMAGES_PATH, half_noise, IMAGES_PATH),
    (ROWS, lose, ROWS),
    (f"{MODEL.folder}/predictions.parquet", all_right, f"{MODEL.folder}/predictions.parquet"),
    (f"{MODEL.folder}/manifest.json", edit_json(seconds=1), f"{MODEL.folder}/manifest.json"),
    (f"{MODEL.folder}/metrics.json", edit_score, f"{MODEL.folder}/metrics.json"),
    ("results/compare/summary.csv", flip_bit, "results/compare/summary.csv"),
]


@pytest.mark.parametrize(("name", "damage", "again"), EVERYWHERE, ids=[f"{path}" for path, *_ in EVERYWHERE])
def test_verify_finds_each_damage_and_names_what_makes_the_file_again(root, name, damage, again):
    damage(root / name)
    verdict = verify(root)
    assert any(line.startswith(f"damaged: {root / name}") for line in verdict.damages)
    assert all(
        line.endswith(f"snakemake --cores 8 --forcerun {again}") or "made from" in line for line in verdict.damages
    )


def test_verify_finds_nothing_wrong_with_what_was_just_made(root):
    verdict = verify(root)
    assert (verdict.damages, verdict.unrecorded) == ([], 0)
    raw, data, runs, tables = IMAGES * 2 + 1, 4, 2 * 4, 6
    assert verdict.files == raw + data + runs + tables
    assert verdict.bytes > 10_000


# What killed processes leave.


@pytest.mark.parametrize("word", ["new", "old"])
def test_half_a_report_of_a_dead_process_is_swept_and_that_of_a_living_one_stays(tmp_path, word):
    dead, living = (tmp_path / f".report.{process}.{word}" for process in (DEAD, os.getppid()))
    for folder in (dead, living):
        (folder / "figures").mkdir(parents=True)
    with replace_folder(tmp_path / "report") as new:
        (new / "index.html").write_text("whole")
    assert (tmp_path / "report/index.html").read_text() == "whole"
    assert (dead.exists(), living.exists()) == (False, True)


def test_half_a_file_of_a_dead_process_is_swept_by_the_next_writer_of_the_same_file(tmp_path):
    dead, living, other = (
        tmp_path / name for name in (f".{DEAD}.images.npy", f".{os.getppid()}.images.npy", f".{DEAD}.masks.npy")
    )
    for path in (dead, living, other):
        path.write_bytes(b"half")
    with write_whole(tmp_path / "images.npy") as temporary:
        temporary.write_bytes(b"whole")
    assert (dead.exists(), living.exists(), other.exists()) == (False, True, True)


CREATE = """
import sys
from covbench.operations.mlflow.store import prepare_store
from covbench.schema import CovbenchError
try:
    prepare_store(sys.argv[1])
except CovbenchError as error:
    sys.exit(str(error))
"""


def create_store(uri, *command):
    return subprocess.Popen(
        [*command, sys.executable, "-c", CREATE, uri], stderr=subprocess.PIPE, text=True, start_new_session=True
    )


@pytest.mark.slow
def test_a_first_start_of_mlflow_that_was_killed_does_not_stop_the_next(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    (tmp_path / f".{DEAD}.mlflow.db-journal").write_bytes(b"half")
    for seconds in (1, 2, 4):
        process = create_store(uri)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    process = create_store(uri)
    assert (process.communicate()[1], process.returncode) == ("", 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlflow.db", "mlflow.db.lock"]


@pytest.mark.slow
@needs_small_disk
def test_a_full_disk_says_how_much_is_missing_and_leaves_no_broken_database(tmp_path):
    process = create_store(f"sqlite:///{tmp_path}/mlflow.db", *on_small_disk("20m", tmp_path))
    said = process.communicate()[1]
    assert process.returncode == 1
    assert "it needs 2.0 MB and 50.0 MB to spare" in said
    assert "too little" in said


FILL = """
import sys
from pathlib import Path
import numpy as np
import pandas as pd
from covbench.schema import CovbenchError
from covbench.system.files import write_table, write_whole
folder = Path(sys.argv[1])
write_table(folder / "small.csv", pd.DataFrame({"a": [1]}))
try:
    write_table(folder / "large.csv", pd.DataFrame({"a": np.arange(10**6)}))
except CovbenchError as error:
    print(error)
try:
    with write_whole(folder / "array.npy") as temporary:
        np.save(temporary, np.zeros(10**6))
except CovbenchError as error:
    print(error)
print(*sorted(path.name for path in folder.iterdir()))
"""


@needs_small_disk
def test_a_disk_that_is_full_in_the_middle_of_a_file_says_how_much_is_missing_where(tmp_path):
    command = [*on_small_disk("2m", tmp_path), sys.executable, "-c", FILL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    table, array, left = done.stdout.splitlines()
    assert table.startswith(f"no space left while writing {tmp_path}/large.csv: {tmp_path} has ")
    assert "too little for 6.9 MB; free some space" in table
    assert array.startswith(f"no space left while writing {tmp_path}/array.npy: {tmp_path} has ")
    assert left == "small.csv"


def test_the_command_verify_ends_with_the_number_that_says_whether_anything_is_damaged(root, capsys):
    assert main(["verify", "--directory", str(root)]) == 0
    assert ": 0 damaged" in capsys.readouterr().out
    cut(root / SPLIT)
    checksum_path(root / ROWS).unlink()
    assert main(["verify", "--directory", str(root)]) == 1
    damage, counted = capsys.readouterr().out.splitlines()
    assert damage.endswith(f"make it again: snakemake --cores 8 --forcerun {SPLIT}")
    assert counted.endswith(": 1 damaged; 1 have no recorded hash, made by an earlier version")
