"""The command `covbench status`: show the state of every planned run, and the inputs in which a stale run differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from covbench.experiment.runs import RunRecord, RunState, name_machine

STATES = {
    RunState.SCORED: "trained with exactly the inputs that are planned now, or with accepted edits, and scored",
    RunState.TRAINED: "the same, but not scored yet",
    RunState.STALE: "trained, but an option, a setting, a file, a module or a locked package has changed since",
    RunState.RUNNING: "a process is training it",
    RunState.FAILED: "its last training ended with an error, or one of its files is damaged or lost",
    RunState.MISSING: "not trained yet",
}
HELP = f"""\
Show which planned runs are scored, trained, stale, running, failed or missing, and why a run is stale or failed.

{chr(10).join(f"  {state:9} {meaning}" for state, meaning in STATES.items())}

A run's manifest.json lists everything that decided the run. The command compares it with the config, with the split,
the prepared arrays and the weights on disk, with the modules of this checkout and with the versions in envs/cpu.txt.
It trains nothing and changes nothing.
"""
EXAMPLES = """\
examples:
  covbench status                                                  the study, in this folder
  covbench status --configfile config/demo.yaml --directory demo
  covbench status --json | jq '.runs[] | select(.state == "stale")'

Snakemake trains missing and stale runs and resumes failed ones: start it again. Two cases need the command below.
Without its metadata (.snakemake), as in a fresh clone with pulled results, Snakemake takes stale runs for current. It
also does not notice that a run's folder was deleted, or a file in it damaged, while the tables made from it exist.

  covbench status --folders stale | sed 's|$|/manifest.json|' | xargs -r -d '\\n' snakemake --cores 8 --forcerun

If an edit changes nothing in a run, declare it harmless instead: covbench accept RUN... --because "..."
"""


def count_states(runs: Iterable[RunRecord]) -> dict[str, int]:
    """Count the runs in each state."""
    counts = Counter(run.state for run in runs)
    return {str(state): counts[state] for state in STATES}


def show_runs(runs: Sequence[RunRecord]) -> str:
    """Show the counts, and a line for the seeds of each contestant that share a state and a reason."""
    counts = ", ".join(f"{number} {state}" for state, number in count_states(runs).items())
    rows = [("TASK", "PROTOCOL", "ARCHITECTURE", "STATE", "SEEDS", "WHY")]
    for keys, group in groupby(sorted(runs, key=_line), key=_line):
        rows.append((*keys[:4], shorten_seeds(run.seed for run in group), keys[4]))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join([*map(str.ljust, row[:5], widths), row[5]]).rstrip() for row in rows]
    return "\n".join([f"{len(runs)} runs planned: {counts}", *list_machines(runs), "", *lines])


def list_machines(runs: Iterable[RunRecord]) -> list[str]:
    """Say on which machines the networks were trained, if there are several: the same seed may differ between them."""
    keys = ("device", "cpu", "instruction_set")
    trained = [run.manifest for run in runs if run.planned.is_deep and all(run.manifest.get(key) for key in keys)]
    counts = Counter(name_machine(*(manifest[key] for key in keys)) for manifest in trained)
    if len(counts) < 2:
        return []
    shown = ", ".join(f"{number} on {machine}" for machine, number in counts.most_common())
    return [f"networks were trained on different machines, where the same seed can give other numbers: {shown}"]


def shorten_seeds(seeds: Iterable[int]) -> str:
    """Show the seeds 0, 1, 2, 7 as `0-2,7`."""
    ordered = sorted(seeds)
    runs = [[seed for _, seed in group] for _, group in groupby(enumerate(ordered), lambda pair: pair[1] - pair[0])]
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _line(run: RunRecord) -> tuple[str, str, str, str, str]:
    reason = "" if run.state in (RunState.MISSING, RunState.RUNNING) else run.reason
    return run.task, run.protocol, run.architecture, run.state, reason


def describe_status(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Describe the runs for --json: `counts`, and `runs` with the folder, state, reason and differences of each."""
    described = [
        {
            **asdict(run.run),
            "folder": run.run.folder,
            "state": str(run.state),
            "reason": run.reason,
            "differences": [asdict(difference) for difference in run.differences],
            "accepted": asdict(run.acceptance) if run.acceptance else None,
        }
        for run in runs
    ]
    return {"counts": count_states(runs), "runs": described}
