"""Real DVC over real Snakemake runs: clones, locks, options, seeds, experiments; what is trained, and what it says."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.workflow.conftest import ROOT, planned_jobs

TRAINING = {"size": 32, "batch_size": 32, "head_epochs": 0, "fine_tune_epochs": 1}
CONFIG = {
    "tasks": ["phantom_xray"],
    "architectures": {"classification": ["small_cnn"]},
    "baselines": {"classification": ["majority"]},
    "protocols": ["audited"],
    "seeds": [0],
    "fetch": {"mirror": None},
    "weights": "none",
    "options": {"audited": {"classification": TRAINING}},
    "deterministic": True,
    "tracking": {"uri": "sqlite:///results/mlflow.db", "live": False},
}
BATCH_SIZE = "options.audited.classification.batch_size"
MODEL = "results/runs/phantom_xray/audited/small_cnn"
TRAINED = {"train_classifier": 1}
REPEATS = 8

pytestmark = pytest.mark.slow


def call(folder, *command):
    """A command in a checkout, with the tools of this environment and no installed package of another checkout."""
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    identity = {f"GIT_{who}_{what}": "covbench" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = os.environ | {"PATH": tools, "PYTHONPATH": "src", "SNAKEMAKE_OPTIONS": "--cores 2"} | identity
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800, env=environment)
    assert done.returncode == 0, f"{command}\n{(done.stdout + done.stderr)[-5000:]}"
    return done.stdout + done.stderr


def commit(folder, message):
    call(folder, "git", "add", "--all")
    call(folder, "git", "commit", "--quiet", "--message", message)


def configure(folder, **changes):
    """Write the config of a checkout: CONFIG with some keys changed."""
    (folder / "config/config.yaml").write_text(yaml.safe_dump(CONFIG | changes))


def with_batch_size(size):
    return {"options": {"audited": {"classification": TRAINING | {"batch_size": size}}}}


def clone(origin, folder):
    call(origin, "git", "clone", "--quiet", str(origin), str(folder))
    call(folder, "dvc", "pull")
    return folder


def trainings(output):
    """Trainings of deep networks and how many, from what Snakemake said that it plans or does."""
    return {rule: jobs for rule, jobs in planned_jobs(output).items() if rule.startswith("train_")}


def batch_size_of(folder):
    """As the manifest of the model has it that lies there."""
    return json.loads((folder / MODEL / "0/manifest.json").read_text())["options"]["batch_size"]


def assert_compared(folder):
    """The tables speak of exactly the models that lie there."""
    runs = pd.read_csv(folder / "results/compare/runs.csv").query("architecture == 'small_cnn'")
    for seed, fingerprint in zip(runs["seed"], runs["fingerprint"], strict=True):
        assert json.loads((folder / MODEL / f"{seed}/manifest.json").read_text())["fingerprint"] == fingerprint


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """A checkout with a remote of its own in which `dvc repro` has run once; pushed and committed."""
    folder = tmp_path_factory.mktemp("of a benchmark") / "the first"
    listed = call(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate")
    for name in listed.splitlines():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    call(folder, "git", "init", "--quiet")
    call(folder, "dvc", "remote", "add", "--default", "beside", str(folder.parent / "remote"))
    configure(folder)
    commit(folder, "a small benchmark")
    assert trainings(call(folder, "dvc", "repro")) == TRAINED
    commit(folder, "its results")
    call(folder, "dvc", "push")
    return folder


@pytest.fixture(scope="module")
def changed(origin):
    """A clone with another batch size in the config, reproduced and committed, and the output of `dvc repro`."""
    folder = clone(origin, origin.parent / "a changed one")
    configure(folder, **with_batch_size(16))
    output = call(folder, "dvc", "repro")
    return folder, output


def test_nothing_is_left_to_do_or_to_commit_after_a_run(origin):
    assert "didn't change, skipping" in call(origin, "dvc", "repro")
    assert "up to date" in call(origin, "dvc", "status")
    assert call(origin, "git", "status", "--porcelain") == ""


def test_a_clone_with_pulled_results_has_nothing_to_do_but_to_fill_its_own_mlflow(origin, tmp_path):
    folder = clone(origin, tmp_path / "a clone")
    assert "didn't change, skipping" in call(folder, "dvc", "repro")
    call(folder, "python", "-m", "covbench.cli", "restore-dates")
    plan = call(folder, "snakemake", "--cores", "2", "-n", "--quiet", "rules")
    assert planned_jobs(plan) == {"track": 1, "all": 1, "total": 2}


def test_a_seed_that_is_added_is_the_only_one_trained_also_without_dvc(origin, tmp_path):
    folder = clone(origin, tmp_path / "a clone")
    first = (folder / MODEL / "0/manifest.json").read_text()
    configure(folder, seeds=[0, 1])
    call(folder, "python", "-m", "covbench.cli", "restore-dates")
    assert trainings(call(folder, "snakemake", "--cores", "2")) == TRAINED
    assert (folder / MODEL / "1/model.keras").exists()
    assert (folder / MODEL / "0/manifest.json").read_text() == first
    assert_compared(folder)
    call(folder, "dvc", "commit", "--force")
    assert "up to date" in call(folder, "dvc", "status")
    assert "didn't change, skipping" in call(folder, "dvc", "repro")


def test_a_changed_option_trains_the_networks_that_it_concerns_and_the_difference_is_shown(changed):
    folder, output = changed
    jobs = planned_jobs(output)
    assert trainings(output) == TRAINED
    assert not {"fetch", "index", "split", "prepare", "fit_classification_baseline"} & jobs.keys()
    assert batch_size_of(folder) == 16
    assert_compared(folder)
    assert re.search(rf"{BATCH_SIZE} +32 +16", call(folder, "dvc", "params", "diff"))
    assert "phantom_xray.audited.small_cnn.auroc" in call(folder, "dvc", "metrics", "diff")
    call(folder, "dvc", "plots", "diff", "--out", "plots")
    page = (folder / "plots/index.html").read_text()
    for part in ('"rev": "workspace"', '"rev": "HEAD"', "datum.metric == 'auroc'"):
        assert part in page
    shutil.rmtree(folder / "plots")
    commit(folder, "another batch size")


def test_a_lock_of_another_config_is_never_taken_for_the_planned_one(changed):
    """Every pair of lock and config, twice: Snakemake plans the training where they differ, and only there."""
    folder, _ = changed
    locks = {32: "HEAD~1", 16: "HEAD"}
    wrong = []
    for repeat in range(REPEATS):
        locked, asked = (32, 16)[repeat % 2], (32, 16)[repeat // 2 % 2]
        call(folder, "git", "checkout", "--quiet", locks[locked], "--", "dvc.lock")
        call(folder, "dvc", "checkout", "--quiet")
        configure(folder, **with_batch_size(asked))
        call(folder, "python", "-m", "covbench.cli", "restore-dates")
        planned = trainings(call(folder, "snakemake", "--cores", "2", "-n", "--quiet", "rules"))
        if (planned == TRAINED) == (locked == asked) or batch_size_of(folder) != locked:
            wrong.append((repeat, locked, asked, planned))
    assert not wrong
    configure(folder, **with_batch_size(64))  # of which no lock has the results
    assert trainings(call(folder, "dvc", "repro")) == TRAINED
    assert batch_size_of(folder) == 64
    assert_compared(folder)


def test_results_of_one_version_under_the_notes_of_another_are_refused(changed):
    folder, _ = changed
    call(folder, "git", "checkout", "--quiet", "HEAD", "--", ".")
    call(folder, "dvc", "checkout", "--force", "--quiet")
    call(folder, "git", "checkout", "--quiet", "HEAD~1", "--", "dvc.lock")
    call(folder, "dvc", "checkout", "--force", "--quiet", "results/runs")
    with pytest.raises(AssertionError, match=r"does not say how these were made: .*small_cnn/0/manifest.json"):
        call(folder, "dvc", "repro")


def test_experiments_here_and_in_the_queue_hold_the_scores_of_their_own_options(origin, changed, tmp_path):
    folder = clone(origin, tmp_path / "a clone")
    option = f"config/config.yaml:{BATCH_SIZE}"
    for size in (16, 8):
        call(folder, "dvc", "exp", "run", "--queue", "--name", f"batch-{size}", "-S", f"{option}={size}")
    call(folder, "dvc", "exp", "run", "--run-all")
    call(folder, "dvc", "exp", "run", "--name", "two-seeds", "-S", "config/config.yaml:seeds=[0,1]")
    shown = {name: read_experiment(folder, name) for name in ("batch-16", "batch-8", "two-seeds")}
    assert {name: manifest["options"]["batch_size"] for name, (manifest, _) in shown.items()} == {
        "batch-16": 16,
        "batch-8": 8,
        "two-seeds": 32,
    }
    assert shown["batch-16"][1] == read_experiment(changed[0], "HEAD")[1]
    assert batch_size_of(folder) == 32
    assert (folder / MODEL / "1/model.keras").exists()


def read_experiment(folder, name):
    """The manifest of the model's first seed and the scores of an experiment."""
    found = {}
    for path in (f"{MODEL}/0/manifest.json", "results/scores.json"):
        out = folder.parent / f"{name}.json"
        call(folder, "dvc", "get", "--force", "--rev", name, "--out", str(out), ".", path)
        found[path] = json.loads(out.read_text())
    return tuple(found.values())


def test_raw_data_are_versioned_once_verified_and_those_of_a_competition_only_by_the_users_word(origin, tmp_path):
    folder = tmp_path / "a clone"
    call(origin, "git", "clone", "--quiet", str(origin), str(folder))
    mirror = tmp_path / "mirror"
    for name in ("sarscov2-ctscan-dataset", "covid-segmentation"):
        (mirror / name).mkdir(parents=True)
        (mirror / name / "image.png").write_bytes(name.encode())
    tasks = ["sarscov2_ct", "medseg_multiclass", "phantom_xray"]
    baselines = {"classification": ["majority"], "segmentation": ["empty_mask"]}
    configure(folder, tasks=tasks, baselines=baselines, fetch={"mirror": str(mirror)}, options={})
    manifests = [f"data/raw/{name}.manifest.json" for name in ("sarscov2_ct", "medseg")]
    call(folder, "snakemake", *manifests, "--cores", "2")
    said = call(folder, "python", "-m", "covbench.cli", "add-raw-data")
    assert "sarscov2_ct: 1 files verified" in said
    assert "medseg: data of a competition" in said
    assert "phantom_xray: synthetic" in said
    assert {path.name for path in (folder / "data/raw").glob("*.dvc")} == {
        "sarscov2_ct.dvc",
        "sarscov2_ct.manifest.json.dvc",
    }
    accepted = call(folder, "python", "-m", "covbench.cli", "add-raw-data", "--accept", "medseg")
    assert "medseg: 1 files verified" in accepted
    commit(folder, "raw data")
    assert "data/raw/medseg.dvc" in call(folder, "git", "ls-files")
    call(folder, "dvc", "push")
    shutil.rmtree(folder / "data")
    call(folder, "git", "checkout", "--", "data")
    call(folder, "dvc", "pull", *(f"{path}.dvc" for path in manifests), "data/raw/sarscov2_ct.dvc")
    image = folder / "data/raw/sarscov2_ct/image.png"
    assert image.read_bytes() == b"sarscov2-ctscan-dataset"
    image.unlink()
    image.write_bytes(b"another")
    with pytest.raises(AssertionError, match=r"image.png \(changed\)"):
        call(folder, "python", "-m", "covbench.cli", "add-raw-data")
