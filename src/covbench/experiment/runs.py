"""Planned runs with what their folders hold: scores, cases and manifest, or why there are none."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from covbench.experiment.provenance import find_differences, list_differences
from covbench.experiment.run_locks import is_running, read_failure
from covbench.schema import CovbenchError, Run

log = logging.getLogger(__name__)

KEYS = ["task", "protocol", "architecture"]
FACTS = ["seconds", "parameters", "epochs_run", "best_epoch", "peak_memory_mb"]
FACTS += ["device", "weights", "fingerprint", "git_commit", "finished"]
RUN_COLUMNS = [*KEYS, "family", "seed", "state", "reason", *FACTS, "images", "patients"]
RUN_FILES = ("metrics.json", "cases.parquet", "manifest.json")


@dataclass(frozen=True)
class Scored:
    """A planned run and what its folder holds: metrics.json, cases.parquet, manifest.json; empty unless `done`."""

    run: Run
    family: str
    state: str
    reason: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    cases: pd.DataFrame = field(default_factory=pd.DataFrame)
    manifest: Mapping[str, Any] = field(default_factory=dict)


def read_runs(plan: Sequence[Mapping[str, Any]], root: Path) -> list[Scored]:
    """Every planned run with what its folder holds, and its state: done, running, missing, failed or stale."""
    return [_read_run(entry, root) for entry in plan]


def require_planned(scored: Iterable[Scored]) -> None:
    """Raise CovbenchError naming the runs whose inputs are not the planned ones."""
    stale = [f"{run.run.folder}: {run.reason}" for run in scored if run.state == "stale"]
    if stale:
        shown = "\n  ".join(stale[:10] + ["…"] * (len(stale) > 10))
        raise CovbenchError(f"runs that are not the ones now planned; delete their folders and run again:\n  {shown}")


def _read_run(entry: Mapping[str, Any], root: Path) -> Scored:
    run = Run(entry["task"], entry["protocol"], entry["architecture"], int(entry["seed"]))
    folder = root / run.folder
    absent = [name for name in RUN_FILES if not (folder / name).exists()]
    if absent:
        return Scored(run, entry["family"], *_explain_absence(run, absent, root))
    try:
        metrics, manifest = (json.loads((folder / name).read_text(encoding="utf-8")) for name in RUN_FILES[::2])
        cases = pd.read_parquet(folder / "cases.parquet")
    except (ValueError, OSError) as error:
        log.warning("%s cannot be read: %s", folder, error)
        return Scored(run, entry["family"], "failed", f"cannot be read: {error}")
    if differences := find_differences(entry, manifest, root):
        return Scored(run, entry["family"], "stale", list_differences(differences))
    return Scored(run, entry["family"], "done", "", metrics, cases, manifest)


def _explain_absence(run: Run, absent: Sequence[str], root: Path) -> tuple[str, str]:
    """State and reason of a run without its files."""
    if is_running(run, root):
        return "running", "a process is training it"
    if failure := read_failure(run, root):
        return "failed", failure
    return "missing", f"no {', '.join(absent)}"


def describe_run(scored: Scored) -> dict[str, Any]:
    run, metrics, manifest = scored.run, scored.metrics, scored.manifest
    return {
        **{key: getattr(run, key) for key in [*KEYS, "seed"]},
        "family": scored.family,
        "state": scored.state,
        "reason": scored.reason,
        **{fact: manifest.get(fact) for fact in FACTS},
        **{count: metrics.get(count) for count in ("images", "patients")},
    }


def count_patients(runs: Iterable[Scored]) -> int:
    """Patients in the largest of the runs' test folds."""
    return max(int(run.metrics["patients"]) for run in runs)
