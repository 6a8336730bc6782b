"""A search in a real workflow: it is killed and goes on, and its best trial gives the rates of the run."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import yaml

from covbench.experiment.verify import verify
from covbench.schema import HISTORY_COLUMNS

from .conftest import ROOT, planned_jobs, run_snakemake, take_data

pytestmark = pytest.mark.slow
CONFIG = {
    "tasks": ["phantom_xray"],
    "architectures": {"classification": ["small_cnn"], "segmentation": []},
    "baselines": {"classification": ["majority"], "segmentation": []},
    "protocols": ["audited"],
    "seeds": [0],
    "fetch": {"mirror": None},
    "weights": "none",
    "options": {
        "audited": {"classification": {"size": 64, "head_epochs": 0, "fine_tune_epochs": 2, "fine_tune_rate": 1e-4}}
    },
    "deterministic": True,
    "threads": 1,
    "tracking": {"uri": "sqlite:///results/mlflow.db", "live": False},
}
SEARCH = {"search": {"trials": 3}}  # factors of 1, 1.88 and 0.346: in two epochs, the highest of such small rates wins
RUNS, TRIALS = "results/compare/runs.csv", "results/compare/search.csv"
MODEL = "results/runs/phantom_xray/audited/small_cnn"
CURVES = [name for name in HISTORY_COLUMNS if name != "seconds"]


def kill_in_the_second_trial(folder):
    """Start the workflow, and kill Snakemake and its job once the second trial trains; the first trial's manifest."""
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | SEARCH))
    command = [sys.executable, "-m", "snakemake", RUNS, TRIALS, "--snakefile", ROOT / "Snakefile", "--cores", "1"]
    command += ["--nolock", "--configfile", folder / "config.yaml", "--directory", folder]
    with open(folder / "snakemake.log", "ab") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, cwd=folder, start_new_session=True)
    logs, until = folder / "logs/train_trial", time.monotonic() + 600
    while sum("epoch 0" in path.read_text() for path in logs.rglob("*.log")) < 2:
        assert process.poll() is None, (folder / "snakemake.log").read_text()[-3000:]
        assert time.monotonic() < until
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return {path: path.stat().st_mtime_ns for path in (folder / MODEL).rglob("manifest.json")}


def plan_jobs(folder, config):
    done = run_snakemake(folder, config, RUNS, TRIALS if "search" in config else RUNS, "-n", "--quiet", "rules")
    assert done.returncode == 0, done.stderr[-3000:]
    return planned_jobs(done.stdout + done.stderr)


def call(folder, config, command, *arguments):
    """What a command of `covbench` prints for the plan of a folder."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    words = [sys.executable, "-m", "covbench.cli", command, "--directory", str(folder)]
    words += ["--configfile", str(folder / "config.yaml"), *arguments]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_states(folder, config):
    return {run["architecture"]: run["state"] for run in json.loads(call(folder, config, "status", "--json"))["runs"]}


@pytest.fixture(scope="module")
def searched(finished, tmp_path_factory):
    """A folder in which a search was killed and has then finished, and what was finished when it was killed."""
    folder = tmp_path_factory.mktemp("a search")
    take_data(finished, folder)
    before = kill_in_the_second_trial(folder)
    done = run_snakemake(folder, CONFIG | SEARCH, RUNS, TRIALS, "--rerun-incomplete", cores=1)
    assert done.returncode == 0, done.stderr[-5000:]
    return folder, before


def test_a_killed_search_goes_on_with_the_trials_that_are_left(searched):
    folder, before = searched
    assert len(before) == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list((folder / MODEL / "trials").rglob("manifest.json"))) == 3


def test_the_run_is_its_best_trial_again_and_only_the_run_knows_the_test_fold(searched):
    folder, _ = searched
    table = pd.read_csv(folder / TRIALS)
    best = int(table["val_loss"].idxmin())
    assert table["chosen"].tolist() == ["yes" if trial == best else "no" for trial in range(3)]
    assert best == 1
    options = json.loads((folder / MODEL / "0/manifest.json").read_text())["options"]
    assert options["fine_tune_rate"] == table["fine_tune_rate"][best] == 1.88e-4
    trial, run = (pd.read_csv(folder / MODEL / name / "history.csv") for name in (f"trials/0/{best}", "0"))
    assert trial[CURVES].equals(run[CURVES])
    left = {path.name for path in (folder / MODEL / "trials").rglob("*") if path.is_file()}
    assert left == {"history.csv", "history.csv.sha256", "manifest.json"}


def test_a_finished_search_is_current_for_snakemake_status_verify_and_dvc(searched):
    folder, _ = searched
    call(folder, CONFIG | SEARCH, "restore-dates")  # refuses a manifest that its metadata do not describe
    assert plan_jobs(folder, CONFIG | SEARCH) == {}
    assert read_states(folder, CONFIG | SEARCH) == {"small_cnn": "scored", "majority": "scored"}
    assert verify(folder).damages == []


def test_an_edited_search_makes_stale_what_it_searches_and_nothing_else(searched):
    folder, _ = searched
    more = CONFIG | {"search": {"trials": 4}}
    jobs = plan_jobs(folder, more)
    assert (jobs["train_trial"], jobs["train_classifier"]) == (1, 1)
    assert "fit_classification_baseline" not in jobs
    assert read_states(folder, more) == {"small_cnn": "stale", "majority": "scored"}
    narrow = plan_jobs(folder, CONFIG | {"search": {"trials": 3, "factors": [0.5, 2.0]}})
    assert narrow["train_trial"] == 2


def test_without_its_search_the_run_is_trained_at_its_own_rates(searched):
    folder, _ = searched
    jobs = plan_jobs(folder, CONFIG)
    assert jobs["train_classifier"] == 1
    assert not {"train_trial", "compare_search"} & jobs.keys()
    assert read_states(folder, CONFIG) == {"small_cnn": "stale", "majority": "scored"}
