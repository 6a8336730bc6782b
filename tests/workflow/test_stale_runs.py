"""What an edit makes stale: real trainings by a copy of the project, then one edit after the other in that copy."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import yaml

from covbench.experiment.status import EXAMPLES
from covbench.schema import Run
from tests.added_networks import CLASSIFIER as ADDED_CLASSIFIER
from tests.added_networks import SEGMENTER as ADDED_SEGMENTER
from tests.project_copy import copy_project, environment_of

from .conftest import planned_jobs, run_snakemake, take_data

pytestmark = pytest.mark.slow
CLASSIFIER, SEGMENTER = "train_classifier", "train_segmenter"
CLASSES, MASKS = "fit_classification_baseline", "fit_segmentation_baseline"
RULES = {
    CLASSIFIER: Run("phantom_xray", "audited", "small_cnn", 0),
    SEGMENTER: Run("phantom_lesions", "audited", "unet_small", 0),
    CLASSES: Run("phantom_xray", "audited", "majority", 0),
    MASKS: Run("phantom_lesions", "audited", "empty_mask", 0),
}
TINY = {"size": 32, "batch_size": 32, "head_epochs": 0, "fine_tune_epochs": 1}
CONFIG = {
    "tasks": ["phantom_xray", "phantom_lesions"],
    "architectures": {"classification": ["small_cnn"], "segmentation": ["unet_small"]},
    "baselines": {"classification": ["majority"], "segmentation": ["empty_mask"]},
    "protocols": ["audited"],
    "seeds": [0],
    "fetch": {"mirror": None},
    "weights": "none",
    "options": {"audited": {"classification": TINY, "segmentation": TINY}},
    "deterministic": True,
    "tracking": {"uri": "sqlite:///results/mlflow.db", "live": False},
}
TARGET = "results/compare/runs.csv"


def snakemake(project, folder, config, *arguments):
    environment = {"PYTHONPATH": str(project / "src")}
    done = run_snakemake(folder, config, TARGET, *arguments, environment=environment, project=project)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done.stdout + done.stderr


def call(project, folder, config, command, *arguments):
    """What a command of a project's `covbench` prints for the plan of a folder."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    words = [sys.executable, "-m", "covbench.cli", command, "--directory", str(folder)]
    words += ["--configfile", str(folder / "config.yaml"), *arguments]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment_of(project))
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_status(project, folder, config):
    """What the status says: rule -> state, and rule -> names of the inputs that differ."""
    runs = {run["folder"]: run for run in json.loads(call(project, folder, config, "status", "--json"))["runs"]}
    found = {rule: runs[run.folder] for rule, run in RULES.items()}
    reasons = {rule: {difference["name"] for difference in run["differences"]} for rule, run in found.items()}
    return {rule: run["state"] for rule, run in found.items()}, reasons


def expect_stale(project, folder, config, expected):
    """Snakemake plans exactly the runs of `expected` (rule -> names of the inputs that differ), status names them."""
    jobs = planned_jobs(snakemake(project, folder, config, "-n", "--quiet", "rules"))
    states, reasons = read_status(project, folder, config)
    assert {rule for rule in RULES if rule in jobs} == set(expected)
    assert {rule for rule, state in states.items() if state == "stale"} == set(expected)
    assert {rule: reasons[rule] for rule in expected} == expected
    assert {state for rule, state in states.items() if rule not in expected} <= {"scored"}


@contextmanager
def edited(project, path, change):
    """A file of the project with its text changed, and then as before; one that did not exist is removed again."""
    file = project / path
    before = file.read_text() if file.exists() else None
    file.write_text(change(before or ""))
    yield
    file.unlink() if before is None else file.write_text(before)


def append_comment(text):
    return text + "\n# edited\n"


def pin(name, version):
    """A change of the lock."""

    def change(text):
        head, tail = text.split(f"\n{name}==", 1)
        return f"{head}\n{name}=={version} \\\n{tail.split(chr(10), 1)[1]}"

    return change


@pytest.fixture(scope="module")
def benchmark(finished, tmp_path_factory):
    """A copy of the project, and a folder in which its four runs have finished."""
    project = copy_project(tmp_path_factory.mktemp("a checkout") / "covbench")
    folder = project.parent / "run"
    take_data(finished, folder)
    snakemake(project, folder, CONFIG)
    return project, folder


def test_what_has_just_been_trained_is_finished_and_nothing_is_planned(benchmark):
    project, folder = benchmark
    assert "Nothing to be done" in snakemake(project, folder, CONFIG, "-n")
    assert set(read_status(project, folder, CONFIG)[0].values()) == {"scored"}


@pytest.mark.parametrize(
    ("path", "change", "name", "rules"),
    [
        ("src/covbench/models/segmenter.py", append_comment, "covbench.models.segmenter", [SEGMENTER]),
        ("src/covbench/models/classifier.py", append_comment, "covbench.models.classifier", [CLASSIFIER]),
        ("src/covbench/training/fit.py", append_comment, "covbench.training.fit", [CLASSIFIER, SEGMENTER]),
        ("src/covbench/models/baselines.py", append_comment, "covbench.models.baselines", [CLASSES, MASKS]),
        ("envs/cpu.txt", pin("keras", "3.99.0"), "keras", [CLASSIFIER, SEGMENTER]),
        ("envs/cpu.txt", pin("scikit-image", "0.99.0"), "scikit-image", [CLASSES, MASKS]),
    ],
)
def test_an_edited_module_or_pin_makes_stale_what_imports_it_and_nothing_else(benchmark, path, change, name, rules):
    project, folder = benchmark
    with edited(project, path, change):
        expect_stale(project, folder, CONFIG, {rule: {name} for rule in rules})


def test_other_datasets_scores_pages_architectures_and_tools_make_no_run_stale(benchmark):
    project, folder = benchmark
    added = "\nBASELINES['another'] = CLASSIFICATION\n"
    package = project / "src" / "covbench"
    with (
        edited(package, "reporting/tables.py", append_comment),
        edited(package, "evaluation/classification.py", append_comment),
        edited(package, "data/datasets/medseg.py", append_comment),
        edited(package, "data/datasets/a_new_one.py", append_comment),
        edited(package, "models/catalogue.py", lambda text: text + added),
        edited(project, "envs/cpu.txt", pin("ruff", "99.0.0")),
    ):
        expect_stale(project, folder, CONFIG, {})


def test_added_networks_are_planned_when_they_are_named_and_make_no_run_stale(benchmark):
    project, folder = benchmark
    networks = project / "src/covbench/models/networks"
    named = {"classification": ["small_cnn", "flat_cnn"], "segmentation": ["unet_small", "flat_unet"]}
    with (
        edited(networks, "flat_cnn.py", lambda _: ADDED_CLASSIFIER),
        edited(networks, "flat_unet.py", lambda _: ADDED_SEGMENTER),
    ):
        expect_stale(project, folder, CONFIG, {})
        log = snakemake(project, folder, CONFIG | {"architectures": named}, "-n", "--quiet", "rules")
    jobs = planned_jobs(log)
    assert {rule: jobs[rule] for rule in (CLASSIFIER, SEGMENTER)} == {CLASSIFIER: 1, SEGMENTER: 1}
    assert not {CLASSES, MASKS} & jobs.keys()


def test_a_changed_option_makes_its_own_kind_stale(benchmark):
    project, folder = benchmark
    changed = json.loads(json.dumps(CONFIG))
    changed["options"]["audited"]["classification"]["batch_size"] = 16
    expect_stale(project, folder, changed, {CLASSIFIER: {"batch_size"}})


def test_changed_data_makes_the_runs_of_its_task_stale_and_the_same_data_written_again_none(benchmark, tmp_path):
    project, folder = benchmark
    changed = tmp_path / "run"
    shutil.copytree(folder, changed)
    split = changed / "data/splits/phantom_lesions/audited/0.parquet"
    rows = pd.read_parquet(split)
    rows.to_parquet(split, index=False)
    expect_stale(project, changed, CONFIG, {})
    rows["fold"] = np.where(rows["fold"] == "val", "train", rows["fold"])
    rows.to_parquet(split, index=False)
    images = changed / "data/prepared/phantom_xray/32/images.npy"
    np.save(images, 255 - np.load(images))
    stale = {SEGMENTER: {"split"}, MASKS: {"split"}, CLASSIFIER: {"images"}, CLASSES: {"images"}}
    expect_stale(project, changed, CONFIG, stale)


def test_after_edits_were_accepted_nothing_is_trained_until_the_next_edit(benchmark, tmp_path):
    project, folder = benchmark
    accepted, model = tmp_path / "run", RULES[CLASSIFIER].folder
    shutil.copytree(folder, accepted)
    trained = (accepted / model / "model.keras").stat().st_mtime_ns
    with edited(project, "src/covbench/models/classifier.py", append_comment):
        expect_stale(project, accepted, CONFIG, {CLASSIFIER: {"covbench.models.classifier"}})
        assert "comments only (covbench.models.classifier edited)" in call(
            project, accepted, CONFIG, "accept", "--because", "comments only", model
        )
        expect_stale(project, accepted, CONFIG, {})
        log = snakemake(project, accepted, CONFIG)
        assert set(planned_jobs(log)) == {"compare", "total"}
        runs = pd.read_csv(accepted / TARGET, keep_default_na=False).set_index("architecture")
        assert "comments only" in runs.loc["small_cnn", "reason"]
        assert runs.loc["majority", "reason"] == ""
        assert "Nothing to be done" in snakemake(project, accepted, CONFIG, "-n")
        with edited(project, "src/covbench/models/losses.py", append_comment):
            names = {"covbench.models.classifier", "covbench.models.losses"}
            stale = {CLASSIFIER: names, SEGMENTER: {"covbench.models.losses"}}
            expect_stale(project, accepted, CONFIG, stale)
    expect_stale(project, accepted, CONFIG, {})
    assert (accepted / model / "model.keras").stat().st_mtime_ns == trained


def test_the_remedy_of_status_makes_again_what_snakemake_does_not_notice(benchmark, tmp_path):
    """A stale run without Snakemake's notes, a damaged manifest, and a deleted folder whose tables are there."""
    project, folder = benchmark
    remedied = tmp_path / "run"
    shutil.copytree(folder, remedied)
    manifest = remedied / RULES[CLASSIFIER].folder / "manifest.json"
    date = manifest.stat().st_mtime_ns
    manifest.write_text("")
    os.utime(manifest, ns=(date, date))
    shutil.rmtree(remedied / RULES[MASKS].folder)
    shutil.rmtree(remedied / ".snakemake")
    with edited(project, "src/covbench/models/baselines.py", append_comment):
        assert "Nothing to be done" in snakemake(project, remedied, CONFIG, "-n")
        states, _ = read_status(project, remedied, CONFIG)
        expected = {CLASSIFIER: "failed", SEGMENTER: "scored", CLASSES: "stale", MASKS: "missing"}
        assert states == expected
        output = follow_remedy(project, remedied, [RULES[rule].folder for rule in (CLASSIFIER, CLASSES, MASKS)])
        assert planned_jobs(output) == {CLASSIFIER: 1, CLASSES: 1, MASKS: 1, "evaluate": 3, "compare": 1, "total": 7}
        log = remedied / "logs/train/phantom_xray/audited/small_cnn/0.log"
        assert "finished before with the same inputs" in log.read_text()
        assert set(read_status(project, remedied, CONFIG)[0].values()) == {"scored"}


def follow_remedy(project, folder, runs):
    """Pipe the folders of runs into the command that the help of status names; what Snakemake printed."""
    (command,) = [line.split("|", 1)[1] for line in EXAMPLES.splitlines() if "--forcerun" in line]
    mine = [sys.executable, "-m", "snakemake", TARGET, "--snakefile", str(project / "Snakefile"), "--cores", "2"]
    mine += ["--configfile", str(folder / "config.yaml")]
    done = subprocess.run(
        ["bash", "-c", command.replace("snakemake --cores 8", shlex.join(mine))],
        input="".join(f"{run}\n" for run in runs),
        cwd=folder,
        env=environment_of(project),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


def test_a_stale_run_is_trained_again_and_a_split_made_again_with_the_same_rows_trains_nothing(benchmark):
    project, folder = benchmark
    manifests = {rule: folder / RULES[rule].folder / "manifest.json" for rule in (CLASSIFIER, SEGMENTER)}
    before = {rule: path.read_text() for rule, path in manifests.items()}
    package = project / "src" / "covbench"
    with edited(package, "models/classifier.py", append_comment), edited(package, "audit/splits.py", append_comment):
        log = snakemake(project, folder, CONFIG)
        assert set(read_status(project, folder, CONFIG)[0].values()) == {"scored"}
    assert "rule train_segmenter:" in log
    assert {rule for rule, path in manifests.items() if path.read_text() != before[rule]} == {CLASSIFIER}
