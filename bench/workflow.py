"""Run the workflow on synthetic data, for the measurements that need real jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from bench.processes import ROOT

SYNTHETIC = {
    "tasks": ["phantom_xray"],
    "architectures": {"classification": ["mobilenetv2"], "segmentation": []},
    "baselines": {"classification": [], "segmentation": []},
    "protocols": ["audited"],
    "seeds": [0],
    "fetch": {"mirror": None},
    "weights": "none",
    "options": {"audited": {"classification": {"head_epochs": 0, "fine_tune_epochs": 2}}},
    "deterministic": True,
    "tracking": {"uri": "sqlite:///results/mlflow.db"},
}


def run_workflow(
    folder: Path, config: Mapping[str, Any], targets: Sequence[str], tree: Path = ROOT, trainings: int = 1
) -> float:
    """Run Snakemake on two cores.

    Args:
        folder: the working directory.
        config: the whole config.
        targets: files to make, or names of rules.
        tree: the checkout whose code runs.
        trainings: how many may run at once.

    Returns:
        Processor seconds of Snakemake and of all its jobs.

    Raises:
        RuntimeError: Snakemake failed. The message is the last line of its output.
    """
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(config)))
    command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", str(tree / "Snakefile"), "--cores", "2"]
    command += ["--configfile", str(folder / "config.yaml"), "--directory", str(folder), "--quiet", "all"]
    command += ["--resources", f"gpu={trainings}"]
    environment = os.environ | {"PYTHONPATH": str(tree / "src")}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder, env=environment)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            output.seek(0)
            raise RuntimeError(output.read().strip().splitlines()[-1])
    return used.ru_utime + used.ru_stime


def read_run(folder: Path, run: str) -> dict[str, Any]:
    """Read the facts of a finished training below `folder`. `run` is task/protocol/architecture/seed.

    Returns the manifest with two more keys: `epochs`, the seconds of each, and `job`, those of the whole process.
    """
    results = folder / "results" / "runs" / run
    benchmark = pd.read_csv(folder / "benchmarks" / "train" / f"{run}.tsv", sep="\t")
    epochs = pd.read_csv(results / "history.csv")["seconds"].tolist()
    return json.loads((results / "manifest.json").read_text()) | {
        "epochs": epochs,
        "job": float(benchmark["s"].iloc[0]),
    }
