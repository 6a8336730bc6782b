"""120, 1,200 and 12,000 trainings: what planning, files, DVC and MLflow cost beside the trainings themselves."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from bench.page import read_row
from bench.processes import ROOT, call_fresh
from bench.rows import Row
from covbench.experiment.runs import examine_runs
from covbench.operations.dvc_timestamps import METADATA, read_metadata, restore_dates
from covbench.operations.mlflow.finished_runs import select_tracked, track_runs
from covbench.operations.mlflow.store import prepare_store
from covbench.system.files import hash_file

NAN = float("nan")
GRIDS = {120: (["audited"], 1), 1200: (["published", "audited"], 5), 12_000: (["published", "audited"], 50)}
RUN_FILES = ("model.keras", "history.csv", "manifest.json", "predictions.parquet", "metrics.json", "cases.parquet")
MODEL_BYTES = 1 << 30


def measure() -> list[Row]:
    """Measure seconds and megabytes at each size, for DVC and MLflow at two sizes (see docs/explanation/scaling.md)."""
    rows = [row for trainings, grid in GRIDS.items() for row in plan_grid(trainings, *grid)]
    rows += [row for runs in (120, 1200) for row in version_runs(runs)]
    rows.append(hash_large_file())
    return rows + [read_row(row) for runs in (24, 120) for row in call_fresh("bench.scale:copy_runs", runs)]


def plan_grid(trainings: int, protocols: Sequence[str], seeds: int) -> list[Row]:
    """Measure a dry run of all tasks and architectures of the study: jobs, seconds and memory.

    Args:
        trainings: how many networks this grid trains.
        protocols: of the grid.
        seeds: number of seeds of the grid.

    Returns:
        A row for the seconds and one for the memory.
    """
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    config |= {"protocols": list(protocols), "seeds": list(range(seeds))}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        command = [sys.executable, "-m", "snakemake", "all", "-n", "--quiet", "rules", "--directory", folder]
        command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(path)]
        seconds, output = clock(lambda: subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        memory = call_fresh("bench.scale:run_for_memory", command)
    jobs = next(int(line.split()[1]) for line in output.splitlines() if line.startswith("total"))
    return [
        Row(f"{trainings} trainings: dry run", seconds, NAN, "s", NAN, note=f"{jobs} jobs"),
        Row(f"{trainings} trainings: Snakemake's memory", memory, NAN, "MB", NAN),
    ]


def run_for_memory(command: Sequence[str]) -> float:
    """Run a command and return its peak resident memory in MB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return usage.ru_maxrss / 1024


def version_runs(runs: int) -> list[Row]:
    """Time DVC on run folders of small files with their metadata: add, status, checkout, and restoring the dates."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_runs(folder, runs)
        dvc = [sys.executable, "-m", "dvc"]

        def call(*words: str) -> float:
            return clock(lambda: subprocess.run([*dvc, *words], cwd=folder, check=True, capture_output=True))[0]

        call("init", "--no-scm")
        added = call("add", "runs", str(METADATA))
        status = call("status")
        shutil.rmtree(folder / "runs")
        brought = call("checkout")
        dated, _ = clock(lambda: restore_dates(read_metadata(folder), folder))
        files = 2 * runs * len(RUN_FILES)
    steps = {"hash and store": added, "status": status, "bring back runs": brought, "restore dates": dated}
    note = f"{files} small files with their metadata"
    return [Row(f"DVC, {runs} runs: {step}", seconds, NAN, "s", NAN, note=note) for step, seconds in steps.items()]


def draw_runs(folder: Path, runs: int) -> None:
    """Write the files of runs, each of a usual size and with its own content, and Snakemake's metadata. No models."""
    for run, name in product(range(runs), RUN_FILES):
        path = f"runs/task/audited/a/{run}/{name}"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(f"{path}".encode() * 100)
        stored = folder / METADATA / base64.urlsafe_b64encode(path.encode()).decode()
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_text(json.dumps({"params": ["'a'" * 50], "input": [path] * 4, "endtime": 1.7e9 + run}))


def hash_large_file() -> Row:
    """Time the hash of a file of one gibibyte, because models add mostly bytes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(os.urandom(1 << 20) * (MODEL_BYTES >> 20))
        seconds, _ = clock(lambda: hash_file(path, "md5"))
    return Row("md5 of a gigabyte, DVC's hash", seconds, NAN, "s", NAN)


def copy_runs(runs: int) -> list[Row]:
    """Copy synthetic runs into a new SQLite store, then copy them again."""
    from tests.synthetic_results import draw_tree, plan_runs

    plan = plan_runs({"covid_ct": ["small_cnn", "small_resnet"]}, seeds=range(runs // 4))
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        draw_tree(Path(name), plan)
        uri = "sqlite:///results/mlflow.db"
        prepare_store(uri)
        tracked = select_tracked(examine_runs(plan))
        first, _ = clock(lambda: track_runs(uri, tracked, None, False))
        again, _ = clock(lambda: track_runs(uri, tracked, None, False))
        size = Path("results/mlflow.db").stat().st_size / 1e6
    return [
        Row(f"MLflow, {runs} runs: first copy", first, NAN, "s", NAN, note=f"database of {size:.1f} MB"),
        Row(f"MLflow, {runs} runs: again", again, NAN, "s", NAN),
    ]


def clock(work: Callable[[], Any]) -> tuple[float, Any]:
    """Call `work` and return its seconds and its result."""
    started = time.monotonic()
    result = work()
    return time.monotonic() - started, result
