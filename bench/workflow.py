"""Real runs of the drawn data through Snakemake, as the measurements need them."""

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

DRAWN = {
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
    """Make `targets` in `folder` on two cores. Raises RuntimeError with the end of what Snakemake said."""
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(config)))
    command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    command += ["--configfile", str(folder / "config.yaml"), "--directory", str(folder), "--quiet", "all"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])


def read_run(folder: Path, run: str) -> dict[str, Any]:
    """Facts of a finished training below `folder`: its manifest, `epochs` (s each) and `job` (s, the whole process).

    run: task/protocol/architecture/seed.
    """
    results = folder / "results" / "runs" / run
    benchmark = pd.read_csv(folder / "benchmarks" / "train" / f"{run}.tsv", sep="\t")
    epochs = pd.read_csv(results / "history.csv")["seconds"].tolist()
    return json.loads((results / "manifest.json").read_text()) | {
        "epochs": epochs,
        "job": float(benchmark["s"].iloc[0]),
    }
