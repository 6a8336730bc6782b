"""Which planned runs are finished, stale, running, failed or missing, and in which input a stale one differs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from covbench.experiment.config import read_config
from covbench.experiment.plan import describe_plan
from covbench.experiment.provenance import Difference, find_differences, list_differences
from covbench.experiment.run_locks import is_running, read_failure
from covbench.schema import CovbenchError, Run

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
  python -m covbench.experiment.status                                              the study, in this folder
  python -m covbench.experiment.status --configfile config/demo.yaml --directory demo
  python -m covbench.experiment.status --json | jq '.runs[] | select(.state == "stale")'
  python -m covbench.experiment.status --folders stale | xargs -r -d '\\n' rm -r     then train them again: snakemake

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


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m covbench.experiment.status`; see its --help."""
    options = _parse(arguments)
    try:
        runs = examine_runs(describe_plan(read_config(options.configfile)), options.directory)
    except CovbenchError as error:
        sys.exit(str(error))
    if options.json:
        text = json.dumps(describe_runs(runs), indent=1)
    elif options.folders:
        text = "\n".join(str(options.directory / run.entry["folder"]) for run in runs if run.state == options.folders)
    else:
        text = show_runs(runs)
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m covbench.experiment.status",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--configfile", type=Path, metavar="FILE", help="as for snakemake; without: config/config.yaml")
    parser.add_argument("--directory", type=Path, default=Path(), help="as for snakemake: holds data/ and results/")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="counts and runs, a stale one with every difference")
    form.add_argument("--folders", choices=STATES, metavar="STATE", help="only the folders of the runs in one state")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
