"""The command `covbench cost`: what every network costs, in answers and in trainings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.models.catalogue import DEFAULT_CLASSIFIERS, DEFAULT_SEGMENTERS, kind_of
from covbench.models.networks import NETWORKS
from covbench.operations.step_timings import name_machine, say_last
from covbench.schema import NETWORK_COST_COLUMNS, NETWORK_COSTS, CovbenchError
from covbench.system.files import read_table, write_table
from covbench.system.threads import name_variables

HELP = """\
Measure what every network of the study and every small network costs: parameters, multiply-adds, and for one image the
time and the memory of an answer. Each network is built with random weights in a process of its own, and answers on one
thread of the processor. Where results/compare/runs.csv holds trainings, their seconds, memory and energy are added.

benchmarks/answers keeps what was measured on this machine, so a command that was stopped goes on.
benchmarks/network_costs.csv holds the table.
"""
EXAMPLES = """\
examples:
  covbench cost                                all 36 networks of the study, and the small ones
  covbench cost --only mobilenetv2 unet_small  these alone
"""
HEADINGS = {
    "architecture": "NETWORK",
    "side": "SIDE",
    "parameters": "PARAMETERS",
    "multiply_adds": "MULTIPLY-ADDS",
    "latency_ms": "LATENCY, MS",
    "processor_ms": "PROCESSOR, MS",
    "memory_mb": "MEMORY, MB",
    "train_seconds": "TRAINING, S",
    "train_memory_mb": "TRAINING, MB",
    "train_kwh": "TRAINING, kWh",
    "energy_basis": "ENERGY IS",
}
"""Columns that are shown, with their headings."""
LONGEST = 1800  # s, for one network


def measure_costs(names: Sequence[str], directory: Path) -> pd.DataFrame:
    """Measure what some networks cost, and write the table.

    Args:
        names: of the catalogue; none: the networks of the study and the small ones.
        directory: the folder that holds results/ and benchmarks/.

    Returns:
        A row per network: schema.NETWORK_COST_COLUMNS.

    Raises:
        CovbenchError: a network is unknown or cannot be measured.
    """
    names = names or [*DEFAULT_CLASSIFIERS, *DEFAULT_SEGMENTERS, *NETWORKS]
    kinds = {name: kind_of(name) for name in names}
    folder = directory / "benchmarks" / "answers" / name_machine()
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"architecture": name, "kind": kind, **_measure(name, folder)} for name, kind in kinds.items()]
    trained = summarize_trainings(directory / "results" / "compare" / "runs.csv")
    table = pd.DataFrame(rows).merge(trained, how="left", on="architecture")[[*NETWORK_COST_COLUMNS]]
    write_table(directory / NETWORK_COSTS, table)
    return table


def _measure(name: str, folder: Path) -> dict[str, Any]:
    """Read what was measured of a network on this machine, or measure it now."""
    answer = folder / f"{name}.json"
    if not answer.exists():
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        command = [sys.executable, "-m", "covbench.operations.time_answer", name, str(answer)]
        environment = os.environ | name_variables(1) | {"CUDA_VISIBLE_DEVICES": "-1"}
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONGEST, env=environment)
        except subprocess.SubprocessError as error:
            raise CovbenchError(f"{name} cannot be measured: {say_last(error)}") from error
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return found


def summarize_trainings(path: Path) -> pd.DataFrame:
    """Summarize the scored trainings of results/compare/runs.csv, if there is such a table: a row per architecture."""
    runs = read_table(path, COMPARE_TABLES["runs"]).reindex(columns=[*COMPARE_TABLES["runs"]])
    trained = runs[runs["seconds"].notna()].groupby("architecture")
    return trained.agg(
        trainings=("seconds", "size"),
        train_seconds=("seconds", "median"),
        train_memory_mb=("peak_memory_mb", "max"),
        train_kwh=("energy_kwh", "median"),
        energy_basis=("energy_basis", _list_bases),
    ).reset_index()


def _list_bases(bases: pd.Series) -> str | None:
    """List how energies are known, such as `estimated, measured`; None if none is."""
    return ", ".join(sorted(basis for basis in set(bases.dropna()) if basis)) or None


def show_costs(table: pd.DataFrame) -> str:
    """Show the table as aligned text. What no training has shown is a dash."""
    shown = table[list(HEADINGS)].map(_show).rename(columns=HEADINGS)
    return shown.to_string(index=False)


def _show(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "-" if pd.isna(value) else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
