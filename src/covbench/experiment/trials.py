"""Read the finished trials of a search, and find the options that they give to their run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from covbench.experiment.plan import PlannedRun
from covbench.experiment.records import read_record
from covbench.experiment.search import choose_trial

RATES = {"head_rate": "head_epochs", "fine_tune_rate": "fine_tune_epochs"}
"""Option with the rate of each phase -> option with its epochs."""
UNSEARCHED = "to be searched"
"""What a run has in place of its rates until its trials have finished."""


def read_trials(planned: PlannedRun, root: Path = Path()) -> list[dict[str, Any]]:
    """Read manifest.json of every trial of a run. `root` is the folder that holds results/.

    Returns an empty list unless all of them exist, are intact and have the planned options and settings. Their code and
    files are those of the run, which is compared with its plan on its own.
    """
    manifests = [_read_manifest(trial, root) for trial in planned.trials]
    return manifests if all(manifests) else []


def _read_manifest(trial: PlannedRun, root: Path) -> dict[str, Any]:
    wanted = {"run": asdict(trial.run), **{name: trial.describe()[name] for name in ("options", "settings")}}
    try:
        manifest = read_record(root / trial.run.folder / "manifest.json")
        trained = {name: manifest["inputs"][name] for name in wanted}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return manifest if trained == json.loads(json.dumps(wanted)) else {}


def settle_run(planned: PlannedRun, root: Path = Path()) -> PlannedRun:
    """Give a run the rates that its search has chosen.

    Args:
        planned: the run.
        root: the folder that holds results/.

    Returns:
        The run with the options of its best trial. While a trial is missing or has other options than planned, it has
        UNSEARCHED in place of the rate of each phase. A run without trials stays as it is.
    """
    if not (planned.trials and planned.options):
        return planned
    if manifests := read_trials(planned, root):
        return replace(planned, options=planned.trials[find_best(manifests)].options)
    rates: dict[str, Any] = {rate: UNSEARCHED for rate, epochs in RATES.items() if getattr(planned.options, epochs)}
    return replace(planned, options=replace(planned.options, **rates))


def find_best(manifests: Sequence[Mapping[str, Any]]) -> int:
    """Find the best of a run's trials by the validation loss in their manifests."""
    return choose_trial([manifest["val_loss"] for manifest in manifests])
