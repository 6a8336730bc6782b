"""Which planned runs are finished, stale, running, failed or missing, and in which input a stale one differs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from covbench.experiment.provenance import Difference, find_differences, list_differences
from covbench.experiment.run_locks import is_running, read_failure
from covbench.schema import Run

STATES = {
    "finished": "trained with exactly the inputs that are planned now",
    "stale": "trained, but an option, a setting, a file, a module or a locked package has changed since",
    "running": "a process holds its lock",
    "failed": "its last training ended with an error; started again it goes on where it was last saved",
    "missing": "not trained yet",
}
OUTPUTS = ("manifest.json", "predictions.parquet")
HELP = f"""\
Say which planned runs are finished, stale, running, failed or missing; why one is stale or failed stands beside it.

{chr(10).join(f"  {state:9} {meaning}" for state, meaning in STATES.items())}

A run's manifest.json lists everything that decided it. Here that is compared with the config, the split, the prepared
arrays and the weights as they lie on disk, the modules of this checkout and the versions in envs/cpu.txt. Nothing is
trained, and nothing is changed.
"""
EXAMPLES = """\
examples:
  covbench status                                              the study, in this folder
  covbench status --configfile config/demo.yaml --directory demo
  covbench status --json | jq '.runs[] | select(.state == "stale")'
  covbench status --folders stale | xargs -r -d '\\n' rm -r     then train them again: snakemake

Snakemake trains missing and stale runs. Where its own memory (.snakemake) is gone, in a fresh clone with pulled
results, it takes stale runs for finished; comparing then refuses them. Delete their folders, as above, and they are
trained again.
"""


@dataclass(frozen=True)
class Planned:
    """A planned run: its entry of the plan, its state, for a stale one what differs, for a failed one why."""

    entry: Mapping[str, Any]
    state: str
    differences: Sequence[Difference] = ()
    failure: str = ""

    @property
    def reason(self) -> str:
        """In one line."""
        return " ".join(self.failure.split()) or list_differences(self.differences)


def examine_runs(plan: Iterable[Mapping[str, Any]], root: Path) -> list[Planned]:
    """Every run of the plan (experiment.plan.describe_plan) with its state; root: the folder that holds results/."""
    return [_examine_run(entry, root) for entry in plan]


def _examine_run(entry: Mapping[str, Any], root: Path) -> Planned:
    folder = root / entry["folder"]
    state, differences = "missing", []
    if all((folder / name).exists() for name in OUTPUTS):
        differences = find_differences(entry, _read_json(folder / OUTPUTS[0]), root)
        state = "stale" if differences else "finished"
    run = Run(entry["task"], entry["protocol"], entry["architecture"], int(entry["seed"]))
    if state != "finished" and is_running(run, root):
        return Planned(entry, "running")
    if state == "missing" and (failure := read_failure(run, root)):
        return Planned(entry, "failed", failure=failure)
    return Planned(entry, state, differences)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # cut short: it lists no inputs
        return {}
    return values


def count_states(runs: Iterable[Planned]) -> dict[str, int]:
    """How many runs are in each state."""
    counts = Counter(run.state for run in runs)
    return {state: counts[state] for state in STATES}


def show_runs(runs: Sequence[Planned]) -> str:
    """The counts, and a line for the seeds of each contestant that share a state and a reason."""
    counts = ", ".join(f"{number} {state}" for state, number in count_states(runs).items())
    rows = [("TASK", "PROTOCOL", "ARCHITECTURE", "STATE", "SEEDS", "WHY")]
    for keys, group in groupby(sorted(runs, key=_line), key=_line):
        rows.append((*keys[:4], shorten_seeds(run.entry["seed"] for run in group), keys[4]))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join([*map(str.ljust, row[:5], widths), row[5]]).rstrip() for row in rows]
    return "\n".join([f"{len(runs)} runs planned: {counts}", "", *lines])


def shorten_seeds(seeds: Iterable[int]) -> str:
    """0, 1, 2, 7 as `0-2,7`."""
    ordered = sorted(seeds)
    runs = [[seed for _, seed in group] for _, group in groupby(enumerate(ordered), lambda pair: pair[1] - pair[0])]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _line(run: Planned) -> tuple[str, str, str, str, str]:
    entry = run.entry
    return entry["task"], entry["protocol"], entry["architecture"], run.state, run.reason


def describe_runs(runs: Sequence[Planned]) -> dict[str, Any]:
    """What --json prints: `counts`; each of `runs` with its keys, folder, state, reason, differences."""
    keys = ("task", "protocol", "architecture", "seed", "folder")
    described = [
        {key: run.entry[key] for key in keys}
        | {
            "state": run.state,
            "failure": run.failure,
            "differences": [asdict(difference) for difference in run.differences],
        }
        for run in runs
    ]
    return {"counts": count_states(runs), "runs": described}
