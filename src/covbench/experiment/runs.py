"""Find out what became of each planned run. Every table, page and command uses the same record with the same state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.experiment.accepted_edits import Acceptance, find_acceptance
from covbench.experiment.plan import PlannedRun
from covbench.experiment.provenance import Difference, find_differences, list_differences
from covbench.experiment.run_files import (
    SCORED_FILES,
    TRAINED_FILES,
    describe_input_damage,
    explain_damage,
    find_lost,
    find_training_damage,
    read_manifest,
    read_scores,
)
from covbench.experiment.run_locks import is_running, read_failure, read_progress
from covbench.schema import HISTORY_COLUMNS, CovbenchError, Run
from covbench.system.files import read_table

MODEL_KEYS = ["task", "protocol", "architecture"]
"""Columns that name a model. With `seed` they name a run."""
FACTS = ["seconds", "parameters", "epochs_run", "best_epoch", "peak_memory_mb"]
FACTS += ["energy_kwh", "energy_basis", "country", "grid_g_per_kwh"]
FACTS += ["device", "cpu", "instruction_set", "threads", "precision"]
FACTS += ["weights", "training_data", "fingerprint", "git_commit", "finished"]
"""Keys of manifest.json that are columns of runs.csv."""


class RunState(StrEnum):
    """What became of a planned run."""

    SCORED = "scored"
    TRAINED = "trained"
    STALE = "stale"
    RUNNING = "running"
    FAILED = "failed"
    MISSING = "missing"


@dataclass(frozen=True)
class RunRecord:
    """A planned run and what its folder holds.

    reason: why the run is not scored, or why a scored run counts as current after an edit; otherwise empty.
    differences: the inputs in which a stale run differs from the plan. acceptance: why a run that differs only in
    harmless edits counts as current. manifest: empty if there is none. metrics: empty unless the run is scored.
    """

    planned: PlannedRun
    state: RunState
    root: Path = Path()
    reason: str = ""
    differences: Sequence[Difference] = ()
    acceptance: Acceptance | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> Run:
        """Its cell of the grid."""
        return self.planned.run

    @property
    def task(self) -> str:
        return self.planned.run.task

    @property
    def protocol(self) -> str:
        return self.planned.run.protocol

    @property
    def architecture(self) -> str:
        return self.planned.run.architecture

    @property
    def seed(self) -> int:
        return self.planned.run.seed

    @property
    def family(self) -> str:
        return self.planned.family

    @property
    def folder(self) -> Path:
        """The folder that holds its files."""
        return self.root / self.planned.run.folder

    @cached_property
    def cases(self) -> pd.DataFrame:
        """cases.parquet: a row per test image. Raises CovbenchError if the file is damaged."""
        try:
            return pd.read_parquet(self.folder / "cases.parquet")
        except (ValueError, OSError) as error:
            raise CovbenchError(explain_damage(self.run, "cases.parquet", error)) from error

    @cached_property
    def history(self) -> pd.DataFrame:
        """history.csv: schema.HISTORY_COLUMNS; empty for a baseline."""
        return read_table(self.folder / "history.csv", HISTORY_COLUMNS)

    def read_masks(self) -> dict[tuple[str, int], np.ndarray]:
        """Predicted masks of the test fold by (image_id, copy): uint8, (H, W); empty for a classification."""
        path = self.folder / "predicted_masks.npz"
        if not path.exists():
            return {}
        rows = pd.read_parquet(self.folder / "predictions.parquet")
        masks = np.load(path)["masks"]
        test = np.flatnonzero(rows["fold"] == "test")
        return {(rows["image_id"].iloc[i], int(rows["copy"].iloc[i])): masks[i] for i in test}

    @property
    def log_path(self) -> Path | None:
        """The log of its training; None if there is none. The seeds of a baseline share theirs."""
        model = f"{self.task}/{self.protocol}/{self.architecture}"
        paths = [self.root / "logs" / name for name in (f"train/{model}/{self.seed}.log", f"fit_baseline/{model}.log")]
        return next((path for path in paths if path.exists()), None)


def examine_runs(plan: Iterable[PlannedRun], root: Path = Path()) -> list[RunRecord]:
    """Examine every planned run, in the order of the plan. `root` is the folder that holds data/ and results/."""
    return [_examine_run(planned, root) for planned in plan]


def _examine_run(planned: PlannedRun, root: Path) -> RunRecord:
    folder = root / planned.run.folder
    if absent := [name for name in TRAINED_FILES if not (folder / name).exists()]:
        return _examine_absent(planned, absent, root)
    try:
        manifest = read_manifest(folder / "manifest.json", planned.run)
    except (ValueError, OSError) as error:
        reason = explain_damage(planned.run, "manifest.json", error)
        return _unless_running(RunRecord(planned, RunState.FAILED, root, reason))
    differences = find_differences(planned, manifest, root)
    acceptance = find_acceptance(differences, manifest)
    if differences and not acceptance:
        reason = list_differences(differences) + describe_input_damage(planned, differences, root)
        return _unless_running(RunRecord(planned, RunState.STALE, root, reason, differences, manifest=manifest))
    return _examine_current(RunRecord(planned, RunState.TRAINED, root, acceptance=acceptance, manifest=manifest))


def _examine_absent(planned: PlannedRun, absent: Sequence[str], root: Path) -> RunRecord:
    record = _unless_running(RunRecord(planned, RunState.MISSING, root, f"no {', '.join(absent)}"))
    if record.state is RunState.RUNNING:
        return record
    was_there = absent == ["predictions.parquet"] or (record.folder / "metrics.json").exists()
    lost = find_lost(planned.run, root, TRAINED_FILES) if was_there else ""
    if failure := read_failure(planned.run, root) or lost:
        return RunRecord(planned, RunState.FAILED, root, " ".join(failure.split()))
    return record


def _unless_running(record: RunRecord) -> RunRecord:
    if is_running(record.run, record.root):
        progress = read_progress(record.run, record.root)
        reason = "a process is training it" + (f": {progress}" if progress else "")
        return RunRecord(record.planned, RunState.RUNNING, record.root, reason)
    return record


def _examine_current(trained: RunRecord) -> RunRecord:
    """Examine a run that was trained with the planned inputs."""
    run, root = trained.run, trained.root
    if damage := find_training_damage(run, root) or find_lost(run, root, SCORED_FILES):
        return _unless_running(replace(trained, state=RunState.FAILED, reason=damage))
    accepted = f"; {trained.acceptance}" if trained.acceptance else ""
    if not (trained.folder / "metrics.json").exists():
        return replace(trained, reason=f"not scored yet: no {', '.join(SCORED_FILES)}{accepted}")
    metrics, unscored, damage = read_scores(run, root, trained.manifest)
    if damage:
        return replace(trained, state=RunState.FAILED, reason=damage)
    if unscored:
        return replace(trained, reason=f"{unscored}{accepted}")
    return replace(trained, state=RunState.SCORED, reason=accepted.removeprefix("; "), metrics=metrics)


def require_planned(records: Iterable[RunRecord]) -> None:
    """Raise CovbenchError that names the stale runs, if there are any."""
    stale = [f"{record.run.folder}: {record.reason}" for record in records if record.state is RunState.STALE]
    if stale:
        shown = "\n  ".join(stale[:10] + ["…"] * (len(stale) > 10))
        raise CovbenchError(
            "stale runs: train them again (covbench status --help says how), or declare the edits harmless "
            f"(covbench accept):\n  {shown}"
        )


def describe_record(record: RunRecord) -> dict[str, Any]:
    """Make a run's row of results/compare/runs.csv."""
    scored = record.state is RunState.SCORED
    return {
        **{key: getattr(record, key) for key in [*MODEL_KEYS, "family", "seed"]},
        "state": record.state.value,
        "reason": record.reason,
        **{fact: record.manifest.get(fact) if scored else None for fact in FACTS},
        **{count: record.metrics.get(count) for count in ("images", "patients", "groups")},
    }


def name_machine(device: str, cpu: str, instruction_set: str) -> str:
    """Name the machine that decides the last digits of a training.

    Args:
        device: name of the GPU, or `cpu`.
        cpu: model of the processor.
        instruction_set: widest one that oneDNN may use on it.

    Returns:
        The GPU; without one, the processor and its instruction set.
    """
    return device if device != "cpu" else f"{cpu} ({instruction_set})"


def name_weights(seeds: Iterable[RunRecord]) -> str:
    """Name the weight files that the seeds of a model started from; empty without a manifest."""
    return ", ".join(dict.fromkeys(run.manifest["weights"] for run in seeds if run.manifest.get("weights")))


def count_groups(runs: Iterable[RunRecord]) -> int:
    """Count the groups in the largest of the runs' test folds: patients with all near-duplicates."""
    return max(int(run.metrics["groups"]) for run in runs)
