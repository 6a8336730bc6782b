"""From the config to the list of runs, before the first job and without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import product
from typing import Any

from covbench.datasets import TASKS, dataset_of
from covbench.models.catalogue import BASELINES
from covbench.protocols import Options, resolve_options
from covbench.schema import Run

Config = Mapping[str, Any]


def plan_runs(config: Config) -> list[Run]:
    """Every cell of the grid: task x protocol x (architecture or baseline of the task's kind) x seed."""
    return [
        Run(task, protocol, architecture, seed)
        for task, protocol in product(config["tasks"], config["protocols"])
        for architecture in _contestants(config, TASKS[task].kind)
        for seed in config["seeds"]
    ]


def _contestants(config: Config, kind: str) -> list[str]:
    return [*config["architectures"].get(kind, []), *config["baselines"].get(kind, [])]


def is_baseline(run: Run) -> bool:
    """Whether the run is a baseline, which needs no deep learning."""
    return run.architecture in BASELINES


def options_of(config: Config, task: str, protocol: str) -> Options:
    """The training choices of every run of a task under a protocol."""
    return resolve_options(protocol, TASKS[task], config["options"])


def planned_datasets(config: Config) -> list[str]:
    """The datasets that the tasks need, each once, in the order of the tasks."""
    return list(dict.fromkeys(dataset_of(task) for task in config["tasks"]))


def describe_plan(config: Config) -> list[dict[str, Any]]:
    """The plan as plain values, for the stages that gather runs: a dict per run with its options and family."""
    options = {
        (task, protocol): asdict(options_of(config, task, protocol))
        for task, protocol in product(config["tasks"], config["protocols"])
    }
    return [
        {
            **asdict(run),
            "folder": run.folder,
            "family": "baseline" if is_baseline(run) else "deep",
            "options": {} if is_baseline(run) else options[run.task, run.protocol],
        }
        for run in plan_runs(config)
    ]
