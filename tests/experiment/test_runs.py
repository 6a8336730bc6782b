"""The state of a run, and that status, comparison and report give the same one."""

import json
from dataclasses import replace

import pandas as pd
import pytest

from covbench.data.datasets import TASKS
from covbench.evaluation.comparison.compare import compare_runs
from covbench.experiment.plan import plan_run
from covbench.experiment.provenance import describe_run, expect_inputs
from covbench.experiment.run_locks import lock_run, run_checkpoints
from covbench.experiment.runs import RunState, examine_runs, require_planned
from covbench.experiment.status import describe_status
from covbench.protocols import protocol_options
from covbench.reporting.gather import read_results
from covbench.schema import CovbenchError, Run
from covbench.system.files import write_json, write_table
from tests.run_records import leave_scores, rewrite_manifest

RUN = Run("covid_ct", "audited", "vgg16", 0)
REMEDY = f"make it again: snakemake --cores 8 --forcerun {RUN.folder}"
CONFIG = {"weights": "none", "deterministic": True, "precision": "float32", "threads": 1}
OPTIONS = replace(protocol_options("audited", TASKS["covid_ct"]), size=64)
PLANNED = plan_run(CONFIG, RUN, OPTIONS)
STUDY = pd.DataFrame(columns=["task", "kind", "architecture", "backbone", "metric", "value", "source"])


@pytest.fixture
def root(tmp_path):
    """A folder in which RUN is scored."""
    folder = tmp_path / RUN.folder
    write_json(folder / "manifest.json", describe_run(expect_inputs(PLANNED, tmp_path), seconds=3.0))
    write_table(folder / "predictions.parquet", pd.DataFrame({"image_id": ["a"]}))
    cases = pd.DataFrame({"image_id": ["a", "b"], "patient_id": ["p", "q"]})
    metrics = {"kind": "classification", "classes": ["non_covid", "covid"], "positive": "covid", "metrics": {}}
    metrics |= {"per_class": {}, "undefined": {}, "images": 2, "patients": 2, "groups": 2}
    leave_scores(folder, metrics, cases)
    return tmp_path


def examine(root, planned=PLANNED):
    (record,) = examine_runs([planned], root)
    return record


def test_a_run_with_the_planned_inputs_and_scores_is_scored_and_reads_the_rest_when_asked(root):
    record = examine(root)
    assert (record.state, record.reason, record.differences) == (RunState.SCORED, "", ())
    assert (record.task, record.protocol, record.architecture, record.seed) == ("covid_ct", "audited", "vgg16", 0)
    assert record.metrics["patients"] == 2
    assert record.cases["image_id"].tolist() == ["a", "b"]
    assert record.history.empty
    assert record.read_masks() == {}
    assert record.log_path is None
    log = root / "logs/train/covid_ct/audited/vgg16/0.log"
    log.parent.mkdir(parents=True)
    log.touch()
    assert examine(root).log_path == log


def test_the_seeds_of_a_baseline_share_their_log(root):
    log = root / "logs/fit_baseline/covid_ct/audited/vgg16.log"
    log.parent.mkdir(parents=True)
    log.touch()
    assert examine(root).log_path == log


@pytest.mark.parametrize(
    ("deleted", "state", "reason"),
    [
        (["metrics.json", "cases.parquet"], "trained", "not scored yet: no metrics.json, cases.parquet"),
        (["metrics.json"], "failed", f"{RUN.folder}/metrics.json is missing; {REMEDY}/metrics.json"),
        (["cases.parquet"], "failed", f"{RUN.folder}/cases.parquet is missing; {REMEDY}/cases.parquet"),
        (
            ["predictions.parquet"],
            "failed",
            f"{RUN.folder}/predictions.parquet is missing; {REMEDY}/predictions.parquet",
        ),
        (["manifest.json"], "failed", f"{RUN.folder}/manifest.json is missing; {REMEDY}/manifest.json"),
        (["manifest.json", "metrics.json"], "missing", "no manifest.json"),
    ],
)
def test_deleted_files_decide_the_state(root, deleted, state, reason):
    for name in deleted:
        (root / RUN.folder / name).unlink()
    record = examine(root)
    assert (record.state, record.reason) == (state, reason)


def test_a_lock_makes_a_run_running_unless_it_is_current(root):
    with lock_run(root / run_checkpoints(RUN)):
        assert examine(root).state is RunState.SCORED
        assert examine(root, replace(PLANNED, options=replace(OPTIONS, size=32))).state is RunState.RUNNING
        (root / RUN.folder / "manifest.json").write_text("")
        assert examine(root).state is RunState.RUNNING
    assert examine(root).state is RunState.FAILED


def without(key):
    def change(text):
        manifest = json.loads(text)
        del manifest[key]
        return json.dumps(manifest)

    return change


DAMAGES = {
    "nothing in it": lambda text: "",
    "cut short": lambda text: text[: len(text) // 2],
    "a list": lambda text: "[]",
    "not UTF-8": lambda text: "\udcff",
    "no inputs": without("inputs"),
    "no fingerprint": without("fingerprint"),
    "no date": without("finished"),
    "inputs of another type": lambda text: json.dumps(json.loads(text) | {"inputs": [1]}),
    "edited inputs": lambda text: text.replace('"seed": 0', '"seed": 1'),
    "damaged acceptances": lambda text: json.dumps(json.loads(text) | {"accepted": [{"when": "2026-01-01"}]}),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_manifest_is_failed_for_status_comparison_and_report_with_one_reason(root, damage):
    path = root / RUN.folder / "manifest.json"
    path.write_text(damage(path.read_text()), errors="surrogateescape")
    (of_status,) = describe_status(examine_runs([PLANNED], root))["runs"]
    compared = compare_runs([PLANNED], STUDY, STUDY, root)["runs"].iloc[0]
    reported = read_results(root / "results", [PLANNED], root / "results/compare", root / "report")
    found = [of_status, compared, reported.runs.iloc[0]]
    assert [run["state"] for run in found] == ["failed"] * 3
    (reason,) = {run["reason"] for run in found}
    assert f"{RUN.folder}/manifest.json cannot be read (" in reason
    assert reason.endswith(f"snakemake --cores 8 --forcerun {RUN.folder}/manifest.json")
    assert reported.scored == ()


@pytest.mark.parametrize("name", ["metrics.json", "cases.parquet"])
def test_damaged_scores_are_failed_with_the_file_named(root, name):
    path = root / RUN.folder / name
    path.write_bytes(path.read_bytes()[:-20])
    record = examine(root)
    assert record.state is RunState.FAILED
    assert f"{RUN.folder}/{name} cannot be read" in record.reason
    assert record.metrics == {}


def test_cases_that_are_damaged_inside_are_failed_though_their_end_can_be_read(root):
    path = root / RUN.folder / "cases.parquet"
    content = path.read_bytes()
    path.write_bytes(b"\0" * 40 + content[40:])
    record = examine(root)
    assert record.state is RunState.FAILED
    assert "vgg16/0/cases.parquet cannot be read (it is not what was written)" in record.reason


def test_a_manifest_of_an_older_form_is_stale_and_refused_by_name(root):
    path = root / RUN.folder / "manifest.json"
    rewrite_manifest(path, json.loads(path.read_text()) | {"inputs": {"files": {}}})
    record = examine(root)
    assert record.state is RunState.STALE
    with pytest.raises(CovbenchError, match=rf"{RUN.folder}: manifest 'without these inputs'"):
        require_planned([record])
