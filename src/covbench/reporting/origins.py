"""Where scores come from: training data, weights that nobody published, machines, commits and packages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from covbench.data.sources.pretrained_weights import list_substitutes
from covbench.experiment.plan import DEEP
from covbench.experiment.runs import RunRecord, RunState, name_machine

SUBSTITUTES = tuple(weights.file for weights in list_substitutes())
"""Names in data/weights of files that are used instead of published ones."""


def describe_origins(runs: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Yield a word and a sentence about training data from elsewhere, substitute weights, and several machines.

    runs: rows of one task, as gather.Results.runs.
    """
    for name, words in find_other_training(runs).items():
        yield "leaks cannot be excluded", f"{name}: has learned from other images than the split's: {words}."
    scored = runs[(runs["state"] == RunState.SCORED) & (runs["family"] == DEEP)]
    for file, rows in scored[scored["weights"].isin(SUBSTITUTES)].groupby("weights"):
        names = ", ".join(dict.fromkeys(rows["architecture"]))
        yield "weights", f"{names}: trained from {file}, not from the published ImageNet file."
    machines = [name_machine(*row) for row in scored[["device", "cpu", "instruction_set"]].itertuples(index=False)]
    if len(counts := pd.Series(machines, dtype=str).value_counts()) > 1:
        shown = "; ".join(f"{number} on {machine}" for machine, number in counts.items())
        yield "machines", f"the same seed can give other numbers on another machine. Runs: {shown}."


def find_other_training(runs: pd.DataFrame) -> dict[str, str]:
    """Find the contestants that have learned from other images than the split's, and what from.

    runs: rows as gather.Results.runs; results of an earlier version lack the column. Returns the words by contestant.
    """
    if "training_data" not in runs:
        return {}
    other = runs[(runs["state"] == RunState.SCORED) & (runs["training_data"].fillna("") != "")]
    return dict(zip(other["architecture"], other["training_data"], strict=True))


def name_model(architecture: str, weights: str) -> str:
    """Return a model's name for a table, with the file of its weights if this is a substitute."""
    return f"{architecture} ({weights})" if weights in SUBSTITUTES else architecture


def list_commits(runs: Iterable[RunRecord]) -> list[str]:
    """The known commits of the code that trained some runs, each once, 12 digits."""
    return [commit for commit in dict.fromkeys(str(run.manifest.get("git_commit", ""))[:12] for run in runs) if commit]


def list_packages(manifest: Mapping[str, Any]) -> str:
    """The packages that a run was made with, with their versions; empty if they are not known."""
    return ", ".join(f"{name} {version}" for name, version in manifest.get("packages", {}).items())
