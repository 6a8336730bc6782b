"""Where the rules of the workflow run on a SLURM cluster, and what they ask for, from one small file of the user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from covbench.experiment.config import check_shape
from covbench.schema import CovbenchError
from covbench.system.files import PROJECT

SCHEMA = PROJECT / "workflow" / "schemas" / "cluster.schema.yaml"
NAMES = {"partition": "slurm_partition", "qos": "qos", "constraint": "constraint", "model": "gpu_model"}
"""Key of the file -> resource of snakemake-executor-plugin-slurm."""
DEFAULT_MB, DEFAULT_MINUTES = 2000, 60
MINIMUM_MB = 500
"""Two Snakemakes run in every job, of 130 MB each."""


def read_cluster(path: Path) -> dict[str, Any]:
    """config/cluster.yaml, checked, with defaults. Raises CovbenchError naming every wrong key."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise CovbenchError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise CovbenchError(f"{path}: expected keys and values, got {values!r}")
    return check_shape(values, SCHEMA, str(path))


def place_rule(cluster: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Resources of a rule on this cluster, beside those that it asks for.

    asked: `gpu`, `mem_mb` and `runtime` (minutes) of the rule, where it has them. Memory and time become functions of
    the attempt: each retry asks for as much again.
    """
    placed: dict[str, Any] = {NAMES[key]: value for key, value in cluster["gpu" if asked.get("gpu") else "cpu"].items()}
    if "account" in cluster:
        placed["slurm_account"] = cluster["account"]
    memory, time = (
        asked.get("mem_mb", DEFAULT_MB) * cluster["memory"],
        asked.get("runtime", DEFAULT_MINUTES) * cluster["time"],
    )
    return {**placed, "mem_mb": _grow(max(MINIMUM_MB, round(memory))), "runtime": _grow(max(1, round(time)))}


def _grow(start: int) -> Callable[[Any, int], int]:
    return lambda wildcards, attempt: start * attempt
