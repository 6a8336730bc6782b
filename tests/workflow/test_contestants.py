"""Contestants from elsewhere run as jobs like any other, and leave the runs of all others alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pandas as pd
import pytest

from tests.project_copy import copy_project, environment_of

from .conftest import BASELINES_ONLY, planned_jobs, run_snakemake, take_data

pytestmark = pytest.mark.slow

THRESHOLD = """
    import sys
    from pathlib import Path
    import cv2
    import pandas as pd
    given, written = map(Path, sys.argv[1:])
    (written / "masks").mkdir()
    for row in pd.read_csv(given / "test.csv").itertuples():
        image = cv2.imread(str(given / row.file), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(written / "masks" / f"{row.id}.png"), (image > 150).astype("uint8"))
"""
UNLUCKY = """
    print("progress 1/2")
    raise SystemExit("out of luck")
"""
SLOW = """
    import sys, time
    from pathlib import Path
    import pandas as pd
    given, written = map(Path, sys.argv[1:])
    print("progress 1/2 loss 0.5", flush=True)
    time.sleep(20)
    test = pd.read_csv(given / "test.csv")
    test[["id"]].assign(normal=0.4, covid=0.6).to_csv(written / "predictions.csv", index=False)
"""
CONTESTANTS = {"classification": ["hog_svm", "unlucky", "slow"], "segmentation": ["threshold"]}


def write_contestant(project, name, kind, code):
    folder = project / "contestants" / name
    folder.mkdir()
    words = f"title: {name}\nkind: {kind}\ncommand: python run.py {{input}} {{output}}\n"
    (folder / "contestant.yaml").write_text(words)
    (folder / "run.py").write_text(textwrap.dedent(code))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    project = copy_project(tmp_path_factory.mktemp("a project"))
    write_contestant(project, "threshold", "segmentation", THRESHOLD)
    write_contestant(project, "unlucky", "classification", UNLUCKY)
    write_contestant(project, "slow", "classification", SLOW)
    return project


ENSEMBLES = {"together": ["hog_svm", "intensity_logistic"], "masks": ["threshold", "empty_mask"]}


def entered(*left_out):
    chosen = {kind: [name for name in names if name not in left_out] for kind, names in CONTESTANTS.items()}
    return BASELINES_ONLY | {"protocols": ["audited"], "contestants": chosen, "ensembles": ENSEMBLES}


@pytest.fixture(scope="module")
def competed(finished, project, tmp_path_factory):
    """A benchmark of baselines that had finished when two contestants joined it, and what the dry run before said."""
    folder = tmp_path_factory.mktemp("with contestants") / "run"
    shutil.copytree(finished, folder, symlinks=True)
    config = entered("unlucky", "slow")
    dry = run_snakemake(folder, config, "all", "-n", "--quiet", "rules", project=project)
    done = run_snakemake(folder, config, "all", project=project)
    assert done.returncode == 0, done.stderr[-5000:]
    return folder, planned_jobs(dry.stdout + dry.stderr)


def call(project, folder, *words):
    """What `covbench` prints about the benchmark in a folder, with the config of the last call of run_snakemake."""
    place = ["--configfile", folder / "config.yaml", "--directory", folder]
    command = [sys.executable, "-m", "covbench.cli", *words, *place]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, env=environment_of(project), timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def read_states(folder, project):
    runs = json.loads(call(project, folder, "status", "--json"))["runs"]
    return {(run["architecture"], run["protocol"]): run for run in runs}


def test_joining_contestants_train_nothing_but_themselves(competed):
    _, jobs = competed
    assert all(jobs[rule] == 1 for rule in ("run_hog_svm", "run_threshold", "average", "average_masks"))
    assert (
        not {"fit_classification_baseline", "fit_segmentation_baseline", "prepare", "split", "evaluate"} & jobs.keys()
    )


def test_they_stand_in_every_table_beside_the_baselines(competed):
    folder, _ = competed
    runs = pd.read_csv(folder / "results" / "compare" / "runs.csv").set_index("architecture")
    assert runs.loc[["hog_svm", "threshold"], "state"].eq("scored").all()
    assert runs.loc[["hog_svm", "threshold"], "family"].eq("external").all()
    for name in ("metrics", "summary", "ranks", "pairs"):
        rows = pd.read_csv(folder / "results" / "compare" / f"{name}.csv")
        rows = rows[(rows["task"] == "phantom_xray") & (rows["metric"] == "auroc")]
        assert rows.isin(["hog_svm"]).any(axis=None), name
    assert "hog_svm" in (folder / "results" / "report" / "index.html").read_text()


def test_it_beats_the_majority_on_phantoms(competed):
    folder, _ = competed
    summary = pd.read_csv(folder / "results" / "compare" / "summary.csv")
    chosen = summary[(summary["metric"] == "auroc") & (summary["protocol"] == "audited")].set_index("architecture")
    assert chosen.loc["hog_svm", "mean"] > chosen.loc["majority", "mean"] + 0.1


def test_an_ensemble_stands_beside_its_members_with_the_mean_of_their_probabilities(competed):
    folder, _ = competed
    runs = folder / "results" / "runs" / "phantom_xray" / "audited"
    members = [pd.read_parquet(runs / name / "0" / "cases.parquet") for name in ENSEMBLES["together"]]
    together = pd.read_parquet(runs / "together" / "0" / "cases.parquet")
    mean = sum(member.set_index("image_id")["p_1"].astype(float) for member in members) / 2
    pd.testing.assert_series_equal(together.set_index("image_id")["p_1"], mean, check_dtype=False, atol=1e-6)
    table = pd.read_csv(folder / "results" / "compare" / "runs.csv").set_index("architecture")
    assert table.loc[list(ENSEMBLES), "family"].eq("ensemble").all()
    assert table.loc[list(ENSEMBLES), "state"].eq("scored").all()


def test_an_edited_file_of_a_contestant_makes_just_its_runs_stale(competed, project):
    folder, _ = competed
    path = project / "contestants" / "hog_svm" / "run.py"
    before = path.read_text()
    path.write_text(before + "# edited\n")
    try:
        states = {name: run["state"] for (name, _), run in read_states(folder, project).items()}
        assert [name for name, state in states.items() if state != "scored"] == ["hog_svm"]
        assert states["hog_svm"] == "stale"
        again = run_snakemake(folder, entered("unlucky", "slow"), "all", "-n", "--quiet", "rules", project=project)
        jobs = planned_jobs(again.stdout + again.stderr)
        assert jobs["run_hog_svm"] == 1
        assert not {"run_threshold", "fit_classification_baseline"} & jobs.keys()
    finally:
        path.write_text(before)


def test_without_them_nothing_is_trained(competed, project):
    folder, _ = competed
    done = run_snakemake(folder, BASELINES_ONLY, "all", "-n", "--quiet", "rules", project=project)
    assert not [rule for rule in planned_jobs(done.stdout + done.stderr) if rule.startswith(("run_", "fit_", "split"))]


def test_a_command_that_fails_gives_its_last_words_as_the_reason(competed, project):
    folder, _ = competed
    target = "results/runs/phantom_xray/audited/unlucky/0/manifest.json"
    done = run_snakemake(folder, entered(), target, project=project)
    assert done.returncode != 0
    run = read_states(folder, project)["unlucky", "audited"]
    assert (run["state"], run["reason"]) == ("failed", "the command ended with 1: out of luck")


def test_a_killed_one_shows_how_far_it_was_and_starts_again(competed, project):
    folder, _ = competed
    target = "results/runs/phantom_xray/audited/slow/0/manifest.json"
    run_snakemake(folder, entered(), target, "-n", "--quiet", "rules", project=project)
    command = [sys.executable, "-m", "snakemake", target, "--snakefile", project / "Snakefile", "--cores", "1"]
    command += ["--configfile", folder / "config.yaml", "--directory", folder, "--quiet", "all"]
    job = subprocess.Popen(list(map(str, command)), cwd=folder, start_new_session=True)
    deadline = time.monotonic() + 120
    while (run := read_states(folder, project)["slow", "audited"])["state"] != "running" or "loss" not in run["reason"]:
        assert time.monotonic() < deadline, run
    assert run["reason"] == "a process is training it: 1 of 2, loss 0.5"
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    assert read_states(folder, project)["slow", "audited"]["state"] == "missing"
    run_snakemake(folder, entered(), target, "--unlock", project=project)
    done = run_snakemake(folder, entered(), target, "--rerun-incomplete", project=project)
    assert done.returncode == 0, done.stderr[-3000:]
    assert read_states(folder, project)["slow", "audited"]["state"] == "trained"


def test_answers_made_elsewhere_join_by_two_commands(competed, project):
    folder, _ = competed
    given = folder / "given"
    call(project, folder, "export-split", "phantom_xray", "--images", "png", "--out", given)
    classes = json.loads((given / "task.json").read_text())["classes"]
    table = pd.read_csv(given / "test.csv")[["id"]].assign(**{name: 1 / len(classes) for name in classes})
    table.to_csv(folder / "p.csv", index=False)
    said = call(project, folder, "score", folder / "p.csv", "--name", "flat", "--task", "phantom_xray")
    assert "Balanced accuracy" in said
    config = BASELINES_ONLY | {"contestants": {"classification": ["flat"]}}
    done = run_snakemake(folder, config, "results/compare/runs.csv", project=project)
    assert done.returncode == 0, done.stderr[-3000:]
    runs = pd.read_csv(folder / "results" / "compare" / "runs.csv").set_index(["architecture", "protocol"])
    assert runs.loc[("flat", "audited"), "state"] == "scored"
    assert ("flat", "published") not in runs.index


def test_the_pytorch_example_of_the_docs_is_installed_trained_and_scored(finished, project, tmp_path):
    """With fewer and smaller steps than its own, in the packages of its lock: pip has to find PyTorch's CPU build."""
    script = project / "contestants" / "torch_convnext" / "run.py"
    shorter = script.read_text().replace("WIDTHS = 30, 32, 96,", "WIDTHS = 8, 32, 32,")
    assert shorter != script.read_text()
    script.write_text(shorter)
    folder, run = tmp_path / "run", "results/runs/phantom_xray/audited/torch_convnext/0"
    take_data(finished, folder)
    config = BASELINES_ONLY | {"protocols": ["audited"], "contestants": {"classification": ["torch_convnext"]}}
    done = run_snakemake(folder, config, f"{run}/metrics.json", project=project)
    assert done.returncode == 0, done.stderr[-5000:]
    assert json.loads((folder / run / "metrics.json").read_text())["metrics"]["auroc"] > 0.6
