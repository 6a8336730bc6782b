"""Snakemake and its job killed at random moments of every stage: what is there in the end is what nobody disturbed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pandas as pd
import pytest
import yaml

from covbench.experiment.verify import verify
from covbench.system.files import hash_file

from .conftest import BASELINES_ONLY, ROOT

pytestmark = pytest.mark.slow
A_WORKFLOW = 10
"""How often a workflow is killed before it may end."""
AMONG_TWENTY = {"fetch", "track"}
"""Rules that have to be hit too: `track` starts MLflow for the first time."""
CONFIG = BASELINES_ONLY | {
    "tasks": ["phantom_xray"],
    "baselines": {"classification": ["majority"], "segmentation": []},
    "protocols": ["audited"],
    "options": {"audited": {"classification": {"size": 32}}},
}
SAME = ("data/raw", "data/index", "data/thumbnails", "data/duplicates", "data/splits", "data/prepared")
SAME += ("results/runs", "results/audit", "results/compare")
DIFFERENT = ("manifest.json", "runs.csv", "runs.csv.sha256")
"""They hold the seconds that a run took and the date on which it ended."""


def start(folder):
    """Snakemake with its jobs as a group of processes. A lock would outlive the kill, so it takes none."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    command = [sys.executable, "-m", "snakemake", "all", "--snakefile", ROOT / "Snakefile", "--cores", "1", "--nolock"]
    command += ["--configfile", folder / "config.yaml", "--directory", folder]
    with open(folder / "snakemake.log", "ab") as log:
        return subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, cwd=folder, start_new_session=True)


def list_logs(folder):
    """The logs of the jobs, which each job opens first, with the size and date of each."""
    return {(path, path.stat().st_size, path.stat().st_mtime_ns) for path in (folder / "logs").rglob("*.log")}


def kill_in_a_job(process, folder, chance, seconds):
    """SIGKILL the group some time after a job has begun; the rule of that job, or None if nothing was left to kill."""
    before, jobs = list_logs(folder), chance.choice((1, 1, 2))
    while process.poll() is None and len({path for path, *_ in list_logs(folder) - before}) < jobs:
        time.sleep(0.05)
    end = time.monotonic() + chance.uniform(0, 2 * seconds)
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    killed = process.poll() is None
    if killed:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return find_newest_rule(folder) if killed else None


def find_newest_rule(folder):
    """The rule whose job wrote last."""
    path, *_ = max(list_logs(folder), key=lambda log: log[2])
    return path.relative_to(folder / "logs").parts[0].removesuffix(".log")


def read_end(folder):
    return (folder / "snakemake.log").read_text(errors="replace")[-5000:]


def hash_all(folder):
    """sha256 of every file that has to be the same, by path; and what decided each run."""
    paths = [path for name in SAME for path in sorted((folder / name).rglob("*")) if path.is_file()]
    paths = [path for path in paths if path.parent.name != ".locks"]  # a lock names the process that held it last
    chosen = {str(path.relative_to(folder)): path for path in paths if path.name not in DIFFERENT}
    found = {name: hash_file(path) for name, path in chosen.items() if not name.endswith(".stamp")}
    for path in sorted((folder / "results/runs").rglob("manifest.json")):
        found[str(path.relative_to(folder))] = json.loads(path.read_text())["fingerprint"]
    runs = pd.read_csv(folder / "results/compare/runs.csv")
    return found | {"states": runs["state"].tolist()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What one run from beginning to end leaves, and the seconds that one of its jobs takes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    began = time.monotonic()
    assert start(folder).wait() == 0, read_end(folder)
    return hash_all(folder), (time.monotonic() - began) / len(list_logs(folder))


@pytest.mark.parametrize(
    ("kills", "among_them"), [(10, set()), pytest.param(20, AMONG_TWENTY, marks=pytest.mark.exhaustive)], ids=str
)
def test_a_workflow_killed_in_its_stages_ends_as_if_nothing_had_happened(undisturbed, tmp_path, kills, among_them):
    expected, seconds = undisturbed
    chance, killed, workflows = random.Random(16), Counter(), 0
    while killed.total() < kills or not killed.keys() >= among_them:
        workflows += 1
        folder = tmp_path / f"workflow {workflows}"
        process = start(folder)
        for _ in range(A_WORKFLOW):
            if not (rule := kill_in_a_job(process, folder, chance, seconds)):
                break
            killed[rule] += 1
            process = start(folder)
        assert process.wait() == 0, read_end(folder)
        assert hash_all(folder) == expected
        assert verify(folder).damages == []
        tracked = json.loads((folder / "results/tracking.json").read_text())
        assert tracked
        leftovers = [path for name in ("data", "results") for path in (folder / name).rglob(".[0-9]*.*")]
        assert leftovers == []
        assert list((folder / "results").glob(".report*")) == []
    print(f"{killed.total()} kills in {workflows} workflows: {dict(killed)}; a job takes {seconds:.1f} s")
