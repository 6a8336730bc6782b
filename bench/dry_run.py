"""10,000 planned runs: how long a dry run takes, and how much of it is this benchmark's own code."""

from __future__ import annotations

import pstats
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from bench.processes import ROOT
from bench.rows import Row
from covbench.experiment.plan import plan_runs

PACKAGE, WORKFLOW = str(ROOT / "src" / "covbench"), str(ROOT / "workflow")
TRAININGS = 10_000


def measure() -> list[Row]:
    """Time `snakemake -n` on the full study with many seeds, and profile the share of our own code."""
    config, planned = plan_many()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(config))
        seconds = plan_dry(path, Path(folder))
        profile = Path(folder) / "profile"
        plan_dry(path, Path(folder), "-m", "cProfile", "-o", str(profile))
        stats = pstats.Stats(str(profile))
    share = time_own_code(stats) / stats.total_tt  # type: ignore[attr-defined]
    return [
        Row(f"dry run of {planned} trainings", seconds, float("nan"), "s", seconds, "<= 45", "nothing made yet"),
        Row("own code in it", share * seconds, seconds, "s", share, "<= 0.1", "share of a profile's total"),
    ]


def plan_many() -> tuple[dict[str, Any], int]:
    """Plan the full study without baselines, with enough seeds for 10,000 trainings. Returns config and trainings."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    config["seeds"] = [0]
    config["baselines"] = {"classification": [], "segmentation": []}
    a_seed = len(plan_runs(config))
    config["seeds"] = list(range(-(-TRAININGS // a_seed)))
    return config, sum(planned.is_deep for planned in plan_runs(config))


def plan_dry(config: Path, folder: Path, *profiler: str) -> float:
    """Return the seconds of one dry run in an empty folder."""
    command = [sys.executable, *profiler, "-m", "snakemake", "all", "-n", "--quiet", "rules"]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(config), "--directory", str(folder)]
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    return time.monotonic() - started


def time_own_code(stats: pstats.Stats) -> float:
    """Sum the seconds inside functions of the package and the rules and in what they call. Each call counts once."""
    return sum(
        cumulative
        for function, (_, _, _, _, callers) in stats.stats.items()  # type: ignore[attr-defined]
        for caller, (_, _, _, cumulative) in callers.items()
        if is_own(function) and not is_own(caller)
    )


def is_own(function: tuple[str, int, str]) -> bool:
    """Whether a profiled function is ours. The body of a rule file is not, because Snakemake runs inside it."""
    file, _, name = function
    return file.startswith(PACKAGE) or (file.startswith(WORKFLOW) and name != "<module>")


if __name__ == "__main__":
    for row in measure():
        print(row, row.verdict)
