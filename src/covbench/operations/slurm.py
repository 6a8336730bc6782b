"""Place the rules of the workflow on a SLURM cluster, as one small file of the user says."""

from __future__ import annotations

import getpass
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from covbench.experiment.config_files import check_config_file
from covbench.experiment.shapes import check_shape, suggest
from covbench.schema import CovbenchError
from covbench.system.files import PROJECT
from covbench.system.text_files import read_utf8

SCHEMA = PROJECT / "workflow" / "schemas" / "cluster.schema.yaml"
NAMES = {"partition": "slurm_partition", "qos": "qos", "constraint": "constraint", "model": "gpu_model"}
"""Key of the file -> resource of snakemake-executor-plugin-slurm."""
DEFAULT_MB, DEFAULT_MINUTES = 2000, 60
MINIMUM_MB = 500
"""Every job runs two Snakemake processes of 130 MB each."""
ANSWER_SECONDS = 30


@dataclass(frozen=True)
class Partition:
    """A partition of the cluster. gpus: the models of its GPUs; an empty text for a GPU without a model name."""

    name: str
    default: bool
    up: bool
    gpus: frozenset[str]
    features: frozenset[str]


def read_cluster(path: Path) -> dict[str, Any]:
    """Read and check config/cluster.yaml, with defaults. Raises CovbenchError that names every wrong key."""
    check_config_file(path)
    values = yaml.safe_load(read_utf8(path)) or {}
    if not isinstance(values, dict):
        raise CovbenchError(f"{path}: expected keys and values, got {values!r}")
    return check_shape(values, SCHEMA, str(path))


def place_rule(cluster: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Compute the resources of a rule on this cluster.

    asked: the rule's own `gpu`, `mem_mb` and `runtime` (minutes), if it has them. Memory and time become functions of
    the attempt: the second attempt gets twice as much, the third three times.
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


def list_partitions() -> dict[str, Partition]:
    """List every partition by name, as sinfo does. Raises CovbenchError if SLURM is absent or does not answer."""
    if not shutil.which("sbatch"):
        raise CovbenchError("sbatch is not on this machine; start Snakemake on a login node of the cluster")
    found: dict[str, Partition] = {}
    for line in _ask("sinfo", "--noheader", "--format=%P|%a|%G|%f"):
        marked, up, gres, features = line.strip().split("|")
        name = marked.removesuffix("*")
        gpus = {kind or "" for kind in re.findall(r"\bgpu(?::([A-Za-z]\w*))?", gres)}
        old = found.get(name, Partition(name, marked.endswith("*"), up == "up", frozenset(), frozenset()))
        known = frozenset(re.findall(r"[^,()]+", features)) - {"null"}
        found[name] = Partition(name, old.default, old.up, old.gpus | gpus, old.features | known)
    return found


def list_accounts() -> list[str]:
    """List the accounts that the user may charge. Raises CovbenchError if the cluster has no accounting."""
    words = ("--noheader", "--parsable2", "show", "associations", f"user={getpass.getuser()}", "format=account")
    return sorted(set(filter(None, _ask("sacctmgr", *words))))


def _ask(*command: str) -> list[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CovbenchError(f"{command[0]} does not answer ({type(error).__name__}); is SLURM up?") from error
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise CovbenchError(f"{command[0]} failed: {reason}")
    return done.stdout.splitlines()


def find_misplaced(cluster: Mapping[str, Any], partitions: Mapping[str, Partition]) -> list[str]:
    """Find what the cluster file asks for but the cluster does not have.

    Args:
        cluster: As read_cluster returns it.
        partitions: As list_partitions returns them.

    Returns:
        A message for each mistake, with the key and the choices.
    """
    return [mistake for kind in ("cpu", "gpu") for mistake in _find_misplaced(kind, cluster[kind], partitions)]


def _find_misplaced(kind: str, place: Mapping[str, Any], partitions: Mapping[str, Partition]) -> Iterator[str]:
    name = place.get("partition") or next((part.name for part in partitions.values() if part.default), "")
    if name not in partitions:
        problem = f"{name!r} is no partition of this cluster" if name else "the cluster has no default partition"
        yield f"{kind}.partition: {problem}; {suggest(name, list(partitions))}"
        return
    partition = partitions[name]
    if not partition.up:
        yield f"{kind}.partition: {name} is down; choose another, or ask the cluster's administrators"
    feature = place.get("constraint", "")
    if re.fullmatch(r"[\w.-]+", feature) and feature not in partition.features:
        yield f"{kind}.constraint: no node of {name} has {feature!r}; known: {', '.join(sorted(partition.features))}"
    if kind == "gpu" and not partition.gpus:
        with_gpus = [part.name for part in partitions.values() if part.gpus]
        yield f"gpu.partition: {name} has no GPU; partitions with GPUs: {', '.join(with_gpus) or 'none'}"
    elif place.get("model") and place["model"] not in partition.gpus:
        yield f"gpu.model: {name} has no {place['model']!r}; known: {', '.join(sorted(partition.gpus)) or 'none'}"
