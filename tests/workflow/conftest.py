"""Real Snakemake on the real rules, in a folder of its own whose path has a space."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]

BASELINES_ONLY = {
    "tasks": ["phantom_xray", "phantom_lesions"],
    "architectures": {"classification": [], "segmentation": []},
    "baselines": {"classification": ["majority", "intensity_logistic"], "segmentation": ["empty_mask"]},
    "protocols": ["published", "audited"],
    "seeds": [0],
    "fetch": {"mirror": None},
    "weights": "none",
    "options": {
        protocol: {"classification": {"size": 64}, "segmentation": {"size": 64}}
        for protocol in ("published", "audited")
    },
    "deterministic": True,
    "tracking": {"uri": "sqlite:///results/mlflow.db", "live": False},
}


def run_snakemake(folder, config, *arguments, python=sys.executable, environment=None, project=ROOT, cores=2):
    """Run a project's workflow on `config` in `folder`; returns the finished process with its output as text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [str(python), "-m", "snakemake", *arguments, "--snakefile", str(project / "Snakefile")]
    command += ["--cores", str(cores), "--configfile", str(folder / "config.yaml"), "--directory", str(folder)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=1800,
        env=os.environ | (environment or {}),
        cwd=folder,
    )


def planned_jobs(output):
    """Rule -> number of jobs, from Snakemake's table of job counts."""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", output, flags=re.MULTILINE)}


@pytest.fixture(scope="session")
def finished(tmp_path_factory, worker_id):
    """A folder in which the baselines have run from drawing the data to the report; one for all processes of pytest."""
    alone = worker_id == "master"
    shared = tmp_path_factory.mktemp("shared") if alone else tmp_path_factory.getbasetemp().parent
    folder, mark = shared / "a benchmark", shared / "a benchmark has finished"
    with FileLock(shared / "a benchmark.lock"):
        if not mark.exists():
            done = run_snakemake(folder, BASELINES_ONLY, "all")
            assert done.returncode == 0, done.stderr[-5000:]
            mark.touch()
    return folder


def take_data(finished, folder):
    """Give a folder the data of a benchmark, and Snakemake's notes about them, so that none are made again."""
    for name in ("data", ".snakemake/metadata"):
        shutil.copytree(finished / name, folder / name, symlinks=True)
