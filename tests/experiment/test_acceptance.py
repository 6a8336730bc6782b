"""Edits declared harmless: what is recorded, what is refused, and how long it holds."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from covbench.data.datasets import TASKS
from covbench.experiment.acceptance import accept, accept_runs
from covbench.experiment.accepted_edits import fingerprint_decisions, list_accepted
from covbench.experiment.plan import plan_run
from covbench.experiment.provenance import describe_run, expect_inputs
from covbench.experiment.runs import RunState, examine_runs
from covbench.protocols import protocol_options
from covbench.schema import CovbenchError, Run
from covbench.system.files import write_json, write_table
from tests.run_records import rewrite_manifest

CONFIG = {"weights": "none", "deterministic": True, "precision": "float32", "threads": 1}
OPTIONS = replace(protocol_options("audited", TASKS["covid_ct"]), size=64)
PLAN = [plan_run(CONFIG, Run("covid_ct", "audited", "vgg16", seed), OPTIONS) for seed in (0, 1)]
FOLDERS = [planned.run.folder for planned in PLAN]
FIT = "covbench.training.fit"


@pytest.fixture
def root(tmp_path):
    """A folder in which two runs were trained, and one module and one package were other ones."""
    for planned in PLAN:
        split = tmp_path / planned.inputs.split
        split.parent.mkdir(parents=True, exist_ok=True)
        write_table(split, pd.DataFrame({"image_id": ["a"]}))
        write_table(tmp_path / planned.run.folder / "predictions.parquet", pd.DataFrame({"image_id": ["a"]}))
        write_json(manifest_of(tmp_path, planned), describe_run(expect_inputs(planned, tmp_path)))
        change(tmp_path, planned, "code", FIT, "0" * 64)
        change(tmp_path, planned, "packages", "keras", "3.0.0")
    return tmp_path


def manifest_of(root, planned):
    return root / planned.run.folder / "manifest.json"


def change(root, planned, part, name, value):
    """As if the run had been trained with another input, and noted so."""
    manifest = json.loads(manifest_of(root, planned).read_text())
    manifest["inputs"][part][name] = value
    rewrite_manifest(manifest_of(root, planned), manifest)


def states(root):
    return [str(record.state) for record in examine_runs(PLAN, root)]


def test_an_accepted_run_counts_as_current_and_says_why(root):
    assert states(root) == ["stale", "stale"]
    (line,) = accept(PLAN, [FOLDERS[0]], "a comment", root)
    assert states(root) == ["trained", "stale"]
    record = examine_runs(PLAN, root)[0]
    keras = expect_inputs(PLAN[0], root)["packages"]["keras"]
    words = f"a comment ({FIT} edited, keras '3.0.0' (planned '{keras}'))"
    assert str(record.acceptance).endswith(words)
    assert record.reason.startswith("not scored yet: no metrics.json, cases.parquet; accepted on 20")
    assert (line.startswith(FOLDERS[0]), line.endswith(words)) == (True, True)


def test_the_manifest_keeps_who_said_what_of_which_hashes_its_date_and_its_fingerprint(root):
    path = manifest_of(root, PLAN[0])
    before, text = path.stat().st_mtime_ns, path.read_text()
    now = expect_inputs(PLAN[0], root)
    accept(PLAN, [FOLDERS[0]], "  a comment ", root)
    manifest = json.loads(path.read_text())
    (entry,) = manifest.pop("accepted")
    assert manifest == json.loads(text)
    assert path.stat().st_mtime_ns == before
    assert (entry["because"], entry["when"][:2]) == ("a comment", "20")
    assert entry["differences"] == [
        {"part": "code", "name": FIT, "trained": "0" * 64, "planned": now["code"][FIT]},
        {"part": "packages", "name": "keras", "trained": "3.0.0", "planned": now["packages"]["keras"]},
    ]


def test_a_further_edit_makes_it_stale_again_until_that_is_accepted_too(root):
    accept(PLAN, FOLDERS, "a comment", root)
    change(root, PLAN[0], "code", "covbench.training.state", "1" * 64)
    assert states(root) == ["stale", "trained"]
    accept(PLAN, [FOLDERS[0]], "another comment", root)
    assert states(root) == ["trained", "trained"]
    assert examine_runs(PLAN, root)[0].acceptance.because == "another comment"
    (root / PLAN[0].inputs.split).write_text("other rows")
    assert states(root) == ["stale", "trained"]


def test_snakemake_is_told_the_fingerprint_of_the_training_as_long_as_the_edits_are_the_accepted_ones(root):
    edited = fingerprint_decisions(PLAN[0], root)
    assert list_accepted(PLAN, root) == []
    accept(PLAN, [FOLDERS[0]], "a comment", root)
    trained = fingerprint_decisions(PLAN[0], root)
    assert trained != edited == fingerprint_decisions(PLAN[0], root / "elsewhere")
    (line,) = list_accepted(PLAN, root)
    assert line.startswith(f"{FOLDERS[0]}: accepted on 20")
    change(root, PLAN[0], "code", "covbench.training.state", "1" * 64)
    assert fingerprint_decisions(PLAN[0], root) == edited
    assert list_accepted(PLAN, root) == []


@pytest.mark.parametrize(
    ("part", "name", "value", "shown"),
    [
        ("options", "batch_size", 7, "batch_size 7 (planned 32)"),
        ("settings", "precision", "mixed_float16", "precision 'mixed_float16' (planned 'float32')"),
        ("files", "split", "2" * 64, "split changed"),
        ("network", "alpha", 0.5, "alpha 0.5"),
    ],
)
def test_other_differences_are_refused_and_nothing_is_recorded_for_any_run(root, part, name, value, shown):
    change(root, PLAN[1], part, name, value)
    with pytest.raises(CovbenchError) as refused:
        accept(PLAN, FOLDERS, "a comment", root)
    assert f"{FOLDERS[1]}: {shown}" in str(refused.value)
    assert FOLDERS[0] not in str(refused.value)
    assert states(root) == ["stale", "stale"]


def test_it_is_refused_without_a_reason_for_unknown_folders_and_for_runs_that_are_not_stale(root):
    with pytest.raises(CovbenchError, match="--because"):
        accept(PLAN, FOLDERS, " ", root)
    with pytest.raises(CovbenchError, match=r"results/runs/nothing: no planned run; .*--folders stale"):
        accept(PLAN, [FOLDERS[0], "results/runs/nothing"], "a comment", root)
    accept(PLAN, [FOLDERS[0]], "a comment", root)
    with pytest.raises(CovbenchError, match=rf"{FOLDERS[0]}: it is trained; only a stale run"):
        accept(PLAN, FOLDERS, "a comment", root)
    (root / FOLDERS[1] / "manifest.json").unlink()
    with pytest.raises(CovbenchError, match=rf"{FOLDERS[1]}: it is missing"):
        accept_runs(examine_runs(PLAN[1:], root), "a comment")


def test_folders_may_be_written_with_the_directory_before_them_as_status_prints_them(root):
    accept(PLAN, [f"{root}/{FOLDERS[0]}/", f"{FOLDERS[1]}/", FOLDERS[1]], "a comment", root)
    assert states(root) == ["trained", "trained"]
    assert len(json.loads(manifest_of(root, PLAN[1]).read_text())["accepted"]) == 1
    assert examine_runs(PLAN, root)[1].state is RunState.TRAINED
