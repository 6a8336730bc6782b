"""Reads what the report shows: result tables, runs, indexes, splits and prepared arrays; any may be missing."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from covbench.audit.tables import AUDIT_TABLES
from covbench.data.datasets import DATASETS, TASKS, dataset_of
from covbench.data.prepare import split_grid
from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.experiment.plan import PlannedRun
from covbench.experiment.runs import MODEL_KEYS, RunRecord, RunState, describe_record, examine_runs
from covbench.schema import NETWORK_COST_COLUMNS, NETWORK_COSTS, SEGMENTATION, Card, Column, Task
from covbench.system.content_hashes import hash_content
from covbench.system.files import read_table
from covbench.system.stage_files import find_damage, name_remedy

log = logging.getLogger(__name__)

FROM_ELSEWHERE = ("published", "literature", "findings")
"""Tables of other people's models, which need not be planned here."""


@dataclass(frozen=True)
class Results:
    """Everything that runs, comparison and audit left.

    runs: a row per planned run, as the table `runs`, with the path of its log from the report's folder.
    compare, audit: the other tables by name, rows of planned runs. published: the study's values of planned
    architectures; compare["published"] has those of all architectures.
    scored: the scored runs in the order of the plan. costs: of the planned networks, as `covbench cost` measured them.
    """

    runs: pd.DataFrame
    compare: Mapping[str, pd.DataFrame]
    published: pd.DataFrame
    audit: Mapping[str, pd.DataFrame]
    scored: tuple[RunRecord, ...]
    costs: pd.DataFrame

    @property
    def metrics(self) -> pd.DataFrame:
        """The table `metrics`."""
        return self.compare["metrics"]

    @property
    def summary(self) -> pd.DataFrame:
        """The table `summary`."""
        return self.compare["summary"]

    def of(self, task: str, protocol: str = "") -> list[RunRecord]:
        """The scored runs of a task, of one protocol if given."""
        return [run for run in self.scored if run.task == task and protocol in ("", run.protocol)]

    def select(self, task: str) -> Results:
        """What belongs to one task; `across`, which has no task, stays whole."""
        return Results(
            runs=_keep_task(self.runs, task),
            compare={name: _keep_task(table, task) for name, table in self.compare.items()},
            published=_keep_task(self.published, task),
            audit={name: _keep_task(table, task) for name, table in self.audit.items()},
            scored=tuple(self.of(task)),
            costs=self.costs[self.costs["architecture"].isin(_keep_task(self.runs, task)["architecture"])],
        )


def _keep_task(table: pd.DataFrame, task: str) -> pd.DataFrame:
    """The rows of a task, also as the other task of a pair; a table without tasks stays whole."""
    keys = [key for key in ("task", "other_task") if key in table]
    return table[(table[keys] == task).any(axis=1)] if keys else table


def read_results(results: Path, plan: Sequence[PlannedRun], compare: Path, out: Path) -> Results:
    """All of `results` that belongs to the plan.

    Args:
        results: the folder results/; data/ and logs/ lie beside it.
        plan: as covbench.experiment.plan.plan_runs.
        compare: folder of the tables of comparison.tables.COMPARE_TABLES; any may be missing.
        out: the report's folder, from which logs are linked.

    Returns:
        The state of each run as it is now, and the tables as they were written.
    """
    records = examine_runs(plan, results.parent)
    runs = tabulate_runs(records)
    runs["log"] = [_link_log(record, out) for record in records]
    tables = {
        name: _read_planned(compare / f"{name}.csv", columns, runs)
        for name, columns in COMPARE_TABLES.items()
        if name != "runs"
    }
    if not any(planned.trials for planned in plan):
        tables["search"] = tables["search"].iloc[:0]  # of an earlier config
    audit = {
        name: _read_planned(results / "audit" / f"{name}.csv", columns, runs) for name, columns in AUDIT_TABLES.items()
    }
    return Results(
        runs=runs,
        compare=tables,
        published=_keep_planned(tables["published"], runs, ["task", "architecture"]),
        audit=audit,
        scored=tuple(record for record in records if record.state is RunState.SCORED),
        costs=read_table(results.parent / NETWORK_COSTS, NETWORK_COST_COLUMNS),
    )


def tabulate_runs(records: Sequence[RunRecord]) -> pd.DataFrame:
    """The table `runs`, its columns of the types that it has in the file."""
    columns = COMPARE_TABLES["runs"]
    table = pd.DataFrame([describe_record(record) for record in records], columns=list(columns))
    for name, column in columns.items():
        table[name] = table[name].fillna("") if column.dtype == "str" else table[name].astype(np.dtype(column.dtype))
    return table


def _read_planned(path: Path, columns: Mapping[str, Column], runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that belong to planned runs; of reported values, those of planned tasks."""
    table = read_table(path, columns)
    keys = ["task"] if path.stem in FROM_ELSEWHERE else [key for key in MODEL_KEYS if key in columns]
    return _keep_planned(table, runs, keys) if keys else table


def _keep_planned(table: pd.DataFrame, runs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    planned = set(runs[keys].itertuples(index=False, name=None))
    kept = [row in planned for row in table[keys].itertuples(index=False, name=None)]
    return table[np.array(kept, dtype=bool)]


def _link_log(record: RunRecord, out: Path) -> str:
    """Path of the log of a run's training from the report's folder; empty where there is none."""
    path = record.log_path
    return Path(os.path.relpath(path, out)).as_posix() if path else ""


def describe_task(name: str, scored: Sequence[RunRecord]) -> Task:
    """The task as registered; one that is not is described from the scores of its runs."""
    if name in TASKS:
        return TASKS[name]
    metrics = scored[0].metrics if scored else {}
    return Task(
        name,
        metrics.get("kind", ""),
        tuple(metrics.get("classes", ())),
        metrics.get("positive", ""),
        tuple(metrics.get("lesions", ())),
    )


def find_card(task: str) -> tuple[str, Card | None]:
    """Name and card of the task's dataset; for an unregistered task its own name and None."""
    if task not in TASKS:
        return task, None
    dataset = dataset_of(task)
    return dataset, DATASETS[dataset].CARD


def read_index(data: Path, dataset: str) -> pd.DataFrame | None:
    """The dataset's index; None before it is made, and if it is damaged."""
    path = data / "index" / f"{dataset}.parquet"
    return pd.read_parquet(path) if path.exists() and _is_intact(path) else None


def _is_intact(*paths: Path) -> bool:
    """Whether files of data/ are what their stage wrote. The log names one that is not, which the report leaves out."""
    problems = [f"{problem}; {name_remedy(path)}" for path in paths if (problem := find_damage(path, hash_content))]
    for problem in problems:
        log.warning("left out of the report: %s", problem)
    return not problems


def read_split(data: Path, task: str, protocol: str) -> pd.DataFrame | None:
    """The split with the lowest seed.

    Args:
        data: Folder that holds splits/.
        task: Name of the task.
        protocol: Name of the protocol.

    Returns:
        Columns of schema.SPLIT_COLUMNS; None before any split is made, and if it is damaged.
    """
    paths = sorted((data / "splits" / task / protocol).glob("*.parquet"), key=lambda path: (len(path.stem), path.stem))
    return pd.read_parquet(paths[0]) if paths and _is_intact(paths[0]) else None


@dataclass(frozen=True)
class Prepared:
    """A task's arrays of one size. images: uint8, (N, H, W), 0-255. masks: uint8, (N, H, W), class numbers, or None."""

    folder: Path
    rows: pd.DataFrame
    images: np.ndarray
    masks: np.ndarray | None

    @cached_property
    def position(self) -> dict[str, int]:
        """Row of each image_id."""
        return {image: row for row, image in enumerate(self.rows["image_id"])}


def read_prepared(data: Path, task: str, size: int | None = None) -> Prepared | None:
    """A task's prepared arrays of one size.

    Args:
        data: Folder that holds prepared/.
        task: Name of the task.
        size: Side of the images in pixels; by default the smallest that exists.

    Returns:
        The arrays, memory-mapped, antialiased if there are any; None if there are none of this size, or if they are
        damaged.
    """
    found = (data / "prepared" / task).glob("[0-9]*")
    folders = [path for path in found if (path / "images.npy").exists() and (path / "rows.parquet").exists()]
    folders = [path for path in folders if size in (None, split_grid(path.name)[0])]
    if not folders:
        return None
    folder = min(folders, key=lambda path: split_grid(path.name))
    masks = folder / "masks.npy"
    if not _is_intact(folder / "rows.parquet", folder / "images.npy", masks):
        return None
    return Prepared(
        folder,
        pd.read_parquet(folder / "rows.parquet"),
        np.load(folder / "images.npy", mmap_mode="r"),
        np.load(masks, mmap_mode="r") if masks.exists() else None,
    )


def measure_areas(masks: np.ndarray, classes: int) -> np.ndarray:
    """Pixels of each class in each mask. masks: uint8, (N, H, W), class numbers. Returns int64, (N, classes)."""
    areas = np.zeros((len(masks), classes), dtype=np.int64)
    for start in range(0, len(masks), 64):
        block = np.asarray(masks[start : start + 64])
        for number in range(classes):
            areas[start : start + 64, number] = (block == number).sum(axis=(1, 2))
    return areas


def find_members(task: Task, prepared: Prepared) -> dict[str, np.ndarray]:
    """Class -> rows of the prepared arrays that belong to it.

    For a segmentation: slices that contain the class, sorted by its area, without the background. Empty if its masks
    are not prepared.
    """
    if task.kind != SEGMENTATION:
        labels = prepared.rows["label"].to_numpy()
        return {name: np.flatnonzero(labels == number) for number, name in enumerate(task.classes)}
    if prepared.masks is None:
        return {}
    areas = measure_areas(prepared.masks, len(task.classes))
    return {
        name: np.argsort(areas[:, number], kind="stable")[(areas[:, number] == 0).sum() :]
        for number, name in enumerate(task.classes)
        if number > 0
    }
