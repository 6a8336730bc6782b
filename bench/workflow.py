"""Run the workflow on synthetic data, for the measurements that need real jobs."""

from __future__ import annotations

import json
import subprocess
import sys
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


def run_workflow(folder: Path, config: Mapping[str, Any], targets: Sequence[str]) -> None:
    """Run Snakemake on two cores.

    Args:
        folder: the working directory.
        config: the whole config.
        targets: files to make.

    Raises:
        RuntimeError: Snakemake failed. The message is the last line of its output.
    """
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(config)))
    command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    command += ["--configfile", str(folder / "config.yaml"), "--directory", str(folder), "--quiet", "all"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])


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
