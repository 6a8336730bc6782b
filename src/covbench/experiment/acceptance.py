"""The command `covbench accept`: declare that an edit of the code changes nothing for some stale runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from covbench.experiment.accepted_edits import ACCEPTABLE, record_acceptance
from covbench.experiment.plan import PlannedRun
from covbench.experiment.provenance import find_differences
from covbench.experiment.runs import RunRecord, RunState, examine_runs
from covbench.experiment.trials import read_trials
from covbench.schema import CovbenchError


def accept(plan: Sequence[PlannedRun], folders: Sequence[str], because: str, root: Path = Path()) -> list[str]:
    """Declare the edits of the named stale runs harmless.

    Args:
        plan: as covbench.experiment.plan.plan_runs.
        folders: folders of the runs, as covbench status prints them, with or without `root` before them.
        because: the reason, for those who read the results.
        root: the folder that holds data/ and results/.

    Returns:
        A line for each run.

    Raises:
        CovbenchError: A folder belongs to no planned run, or accept_runs refuses a run. Nothing is recorded then.
    """
    by_folder = {(root / planned.run.folder).resolve(): planned for planned in plan}
    by_folder |= {Path(planned.run.folder): planned for planned in plan}
    chosen = {folder: by_folder.get(Path(folder)) or by_folder.get(Path(folder).resolve()) for folder in folders}
    if unknown := [folder for folder, planned in chosen.items() if planned is None]:
        raise CovbenchError(
            f"{', '.join(unknown)}: no planned run; write folders as covbench status --folders stale prints them"
        )
    runs = list(dict.fromkeys(planned for planned in chosen.values() if planned))
    return accept_runs(examine_runs(runs, root), because)


def accept_runs(records: Sequence[RunRecord], because: str) -> list[str]:
    """Record in the manifest of each run that its edits change nothing. If one run is refused, none is recorded.

    Args:
        records: stale runs that differ only in code or locked packages.
        because: the reason, not blank.

    Returns:
        A line for each run with what was accepted.

    Raises:
        CovbenchError: The reason is blank, a run is not stale, or its options, classes, settings, split, data or
            weights are not the planned ones.
    """
    if not because.strip():
        raise CovbenchError('say why the edit is harmless: --because "comments only"')
    if refused := [why for record in records if (why := _refuse(record))]:
        raise CovbenchError("nothing was accepted:\n  " + "\n  ".join(refused))
    for record in records:
        _accept_trials(record, because.strip())
    return [
        f"{record.run.folder}: "
        f"{record_acceptance(record.folder / 'manifest.json', record.differences, because.strip())}"
        for record in records
    ]


def _accept_trials(record: RunRecord, because: str) -> None:
    """Accept the same edits for the trials that chose the rates of a run, or Snakemake would train them again."""
    trials = zip(record.planned.trials, read_trials(record.planned, record.root), strict=True)
    for planned, manifest in trials:
        if differences := find_differences(planned, manifest, record.root):
            record_acceptance(record.root / planned.run.folder / "manifest.json", differences, because)


def _refuse(record: RunRecord) -> str:
    """Why the edits of a run cannot be accepted; empty if they can."""
    if record.state is not RunState.STALE:
        return f"{record.run.folder}: it is {record.state}; only a stale run has edits to accept"
    others = [str(found) for found in record.differences if found.part not in ACCEPTABLE]
    if others:
        return f"{record.run.folder}: {', '.join(others)}; only edits of code and packages can be accepted: train it"
    return ""
