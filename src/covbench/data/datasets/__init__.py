"""The datasets: every module of this package with a CARD registers itself. Names that start with `_` are helpers."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from types import ModuleType

from covbench.data.index import log_counts, usable_rows
from covbench.schema import Card, CovbenchError, Task

__all__ = [
    "DATASETS",
    "TASKS",
    "dataset_named",
    "dataset_of",
    "log_counts",
    "publishes_patients",
    "task_named",
    "usable_rows",
]


def _find_datasets() -> dict[str, ModuleType]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "CARD")}


DATASETS: dict[str, ModuleType] = _find_datasets()
TASKS: dict[str, Task] = {task.name: task for module in DATASETS.values() for task in module.CARD.tasks}


def _unknown(kind: str, name: str, known: dict) -> CovbenchError:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return CovbenchError(f"unknown {kind} '{name}'; known: {', '.join(known)}{hint}")


def dataset_named(name: str) -> ModuleType:
    """Return the module of a dataset, with CARD and index(raw). Raises CovbenchError if the name is unknown."""
    if name not in DATASETS:
        raise _unknown("dataset", name, DATASETS)
    return DATASETS[name]


def task_named(name: str) -> Task:
    """Return a task by its name. Raises CovbenchError if no dataset has it."""
    if name not in TASKS:
        raise _unknown("task", name, TASKS)
    return TASKS[name]


def dataset_of(task_name: str) -> str:
    """Return the name of the dataset that a task belongs to."""
    task = task_named(task_name)
    return next(name for name, module in DATASETS.items() if task in module.CARD.tasks)


def publishes_patients(task_name: str) -> bool:
    """Return whether the dataset of a task publishes patients, so that they can be counted."""
    card: Card = DATASETS[dataset_of(task_name)].CARD
    return card.publishes_patients
