"""What an edit makes stale: real trainings by a copy of the project, then one edit after the other in that copy."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import yaml

from covbench.schema import Run
from tests.added_networks import CLASSIFIER as ADDED_CLASSIFIER
from tests.added_networks import SEGMENTER as ADDED_SEGMENTER

from .conftest import ROOT, planned_jobs, run_snakemake

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
    "tracking": {"uri": "sqlite:///results/mlflow.db"},
}
TARGET = "results/compare/runs.csv"


def snakemake(project, folder, config, *arguments):
    environment = {"PYTHONPATH": str(project / "src")}
    done = run_snakemake(folder, config, TARGET, *arguments, environment=environment, project=project)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    return done.stdout + done.stderr


def read_status(project, folder, config):
    """What the status command says: rule -> state, and rule -> names of the inputs that differ."""
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "covbench.cli", "status", "--json", "--directory", str(folder)]
    command += ["--configfile", str(folder / "config.yaml")]
    environment = os.environ | {"PYTHONPATH": str(project / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    runs = {run["folder"]: run for run in json.loads(done.stdout)["runs"]}
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
def benchmark(tmp_path_factory):
    """A copy of the project, and a folder in which its four runs have finished."""
    project = tmp_path_factory.mktemp("a checkout") / "covbench"
    for name in ("src", "workflow", "config", "envs", "profiles"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "Snakefile", project)
    folder = project.parent / "run"
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
