"""From the config to the list of runs, before the first job and without TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import product
from typing import Any

from covbench.data.datasets import TASKS, dataset_of
from covbench.data.sources.pretrained_weights import weights_file
from covbench.models.catalogue import BASELINES, architecture
from covbench.protocols import PROTOCOLS, resolve_options
from covbench.schema import SEGMENTATION, Run

Config = Mapping[str, Any]
OptionsTable = Mapping[tuple[str, str], dict[str, Any]]

SETTINGS = ("deterministic", "precision")  # keys of the config that decide every training


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


def resolve_all(config: Config) -> OptionsTable:
    """The training choices, as covbench.protocols.Options, by task and protocol."""
    return {
        (task, protocol): asdict(resolve_options(protocol, TASKS[task], config["options"]))
        for task, protocol in product(TASKS, PROTOCOLS)
    }


def input_files(config: Config, run: Run, size: int) -> dict[str, str]:
    """What a run reads, relative to the working directory: split, images, rows, masks and weights if it has any."""
    folder = f"data/prepared/{run.task}/{size}"
    files = {
        "split": f"data/splits/{run.task}/{run.protocol}/{run.seed}.parquet",
        "images": f"{folder}/images.npy",
        "rows": f"{folder}/rows.parquet",
    }
    if TASKS[run.task].kind == SEGMENTATION:
        files["masks"] = f"{folder}/masks.npy"
    key = None if is_baseline(run) else architecture(run.architecture).weights
    if key and config["weights"] != "none":
        files["weights"] = f"data/weights/{weights_file(key)}"
    return files


def planned_datasets(config: Config) -> list[str]:
    """The datasets that the tasks need, each once, in the order of the tasks."""
    return list(dict.fromkeys(dataset_of(task) for task in config["tasks"]))


def describe_plan(config: Config) -> list[dict[str, Any]]:
    """The plan as plain values: a dict per run with its folder, family, options, settings and files to read."""
    options = resolve_all(config)
    return [describe_planned(config, run, options[run.task, run.protocol]) for run in plan_runs(config)]


def describe_planned(config: Config, run: Run, options: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of the plan; neither options nor settings mean anything to a baseline."""
    deep = not is_baseline(run)
    return {
        **asdict(run),
        "folder": run.folder,
        "family": "deep" if deep else "baseline",
        "options": options if deep else {},
        "settings": {key: config[key] for key in SETTINGS if key in config} if deep else {},
        "files": input_files(config, run, options["size"]),
    }
