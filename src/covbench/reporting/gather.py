"""Reads what the report shows: result tables, run folders, indexes, splits and prepared arrays; any may be missing."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.datasets import DATASETS, TASKS, dataset_of
from covbench.schema import SEGMENTATION, Card, Run, Task

log = logging.getLogger(__name__)

KEYS = ["task", "protocol", "architecture", "seed"]
METRIC_COLUMNS = [*KEYS[:3], "family", "class", "metric", "value", "low", "high", "reason"]
SUMMARY_COLUMNS = [*KEYS[:3], "family", "metric", "mean", "sd", "low", "high"]
PUBLISHED_COLUMNS = ["task", "architecture", "metric", "reported", "source", "our_metric", "verdict", "why", "note"]
PUBLISHED_COLUMNS += ["definition"]
RUN_COLUMNS = [*KEYS, "family", "state", "reason"]
COMPARED_COLUMNS = {
    "protocols": [*KEYS[:1], "architecture", "family", "metric"],
    "pairs": [*KEYS[:2], "metric"],
    "ranks": [*KEYS[:2], "metric", "architecture"],
    "resolution": [*KEYS[:2], "metric", "basis"],
    "literature": [*KEYS[:1], "protocol", "model", "metric", "value", "note", "source"],
    "external": [*KEYS[:3], "tested_on", "metric", "reason"],
}
STATES = ("done", "running", "stale", "missing", "failed")
WORDS = {
    *[
        "task",
        "protocol",
        "architecture",
        "family",
        "class",
        "metric",
        "our_metric",
        "source",
        "note",
        "definition",
        "verdict",
        "why",
        "state",
        "reason",
    ],
    *[
        "device",
        "weights",
        "fingerprint",
        "image_id",
        "train_id",
        "one",
        "other",
        "test",
        "basis",
        "tested_on",
        "model",
        "git_commit",
        "finished",
        "phase",
    ],
}


@dataclass(frozen=True)
class FinishedRun:
    """A scored run and what it left behind."""

    run: Run
    metrics: dict[str, Any]
    folder: Path

    @cached_property
    def history(self) -> pd.DataFrame:
        """Columns of schema.HISTORY_COLUMNS; empty for baselines."""
        return read_table(self.folder / "history.csv", [])

    @cached_property
    def cases(self) -> pd.DataFrame:
        """A row per test image."""
        path = self.folder / "cases.parquet"
        return pd.read_parquet(path) if path.exists() else pd.DataFrame()

    def read_masks(self) -> dict[tuple[str, int], np.ndarray]:
        """Predicted masks of the test fold by (image_id, copy): uint8, (H, W)."""
        path = self.folder / "predicted_masks.npz"
        if not path.exists():
            return {}
        rows = pd.read_parquet(self.folder / "predictions.parquet")
        masks = np.load(path)["masks"]
        test = np.flatnonzero(rows["fold"] == "test")
        return {(rows["image_id"].iloc[i], int(rows["copy"].iloc[i])): masks[i] for i in test}


@dataclass(frozen=True)
class Results:
    """Everything that runs and comparison left: tables, and the scored runs of the plan in its order.

    study: the study's values of the planned tasks; published: of them those of planned architectures.
    """

    runs: pd.DataFrame
    metrics: pd.DataFrame
    summary: pd.DataFrame
    study: pd.DataFrame
    published: pd.DataFrame
    leaks: pd.DataFrame
    audit: dict[str, pd.DataFrame]
    compared: dict[str, pd.DataFrame]
    finished: tuple[FinishedRun, ...]

    def of(self, task: str, protocol: str = "") -> list[FinishedRun]:
        """The scored runs of a task, of one protocol if given."""
        return [run for run in self.finished if run.run.task == task and protocol in ("", run.run.protocol)]


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV file; without rows where it is missing. Columns of WORDS stay text, as do others with any word in them."""
    if not path.exists():
        return pd.DataFrame(columns=list(columns))
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    for column in set(table.columns) - WORDS:
        numbers = pd.to_numeric(table[column], errors="coerce")
        if (numbers.notna() | table[column].isin(["", "nan"])).all():
            table[column] = numbers
    return table


def read_results(results: Path, plan: Sequence[Mapping[str, Any]], compare: Path, out: Path) -> Results:
    """All of `results` that belongs to the plan (dicts with task, protocol, architecture, seed and perhaps family).

    compare: folder of metrics.csv, summary.csv, published.csv and runs.csv; any may be missing. out: the report's
    folder, from which logs are linked.
    """
    runs = read_states(results, plan, compare)
    runs["log"] = [_find_log(results.parent / "logs", _run_of(row), out) for _, row in runs.iterrows()]
    study = _keep_planned(read_table(compare / "published.csv", PUBLISHED_COLUMNS), runs, KEYS[:1])
    return Results(
        runs=runs,
        metrics=_keep_planned(read_table(compare / "metrics.csv", METRIC_COLUMNS), runs, KEYS[:3]),
        summary=_keep_planned(read_table(compare / "summary.csv", SUMMARY_COLUMNS), runs, KEYS[:3]),
        study=study,
        published=_keep_planned(study, runs, ["task", "architecture"]),
        leaks=_keep_planned(read_table(results / "audit" / "splits.csv", KEYS[:2]), runs, KEYS[:2]),
        audit=_read_audit(results / "audit", runs),
        compared={
            name: _keep_planned(read_table(compare / f"{name}.csv", columns), runs, ["task"])
            for name, columns in COMPARED_COLUMNS.items()
        },
        finished=tuple(_read_finished(results, runs)),
    )


def _read_audit(folder: Path, runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Tables of the audit by name; those of tasks that are not planned are left out."""
    pairs = read_table(folder / "pairs.csv", [*KEYS[:2], "seed"])
    sources = read_table(folder / "sources.csv", KEYS[:1])
    return {
        "pairs": _keep_planned(pairs, runs, KEYS[:2]),
        "sources": _keep_planned(sources, runs, KEYS[:1]),
        "across": read_table(folder / "across.csv", []),
    }


def _keep_planned(table: pd.DataFrame, runs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    planned = set(runs[keys].itertuples(index=False, name=None))
    kept = [row in planned for row in table[keys].itertuples(index=False, name=None)]
    return table[np.array(kept, dtype=bool)]


def read_states(results: Path, plan: Sequence[Mapping[str, Any]], compare: Path) -> pd.DataFrame:
    """A row per planned run, columns as runs.csv: as compare/runs.csv says, else by whether it is scored."""
    planned = pd.DataFrame([{**run, "family": run.get("family") or "deep"} for run in plan], columns=[*KEYS, "family"])
    known = read_table(compare / "runs.csv", RUN_COLUMNS).drop(columns="family")
    runs = planned.merge(known.astype({"seed": "int64"}), on=KEYS, how="left")
    runs[["state", "reason"]] = runs[["state", "reason"]].astype(object).fillna("")
    for row in runs.index[runs["state"] == ""]:
        scores = _folder(results, _run_of(runs.loc[row])) / "metrics.json"
        runs.loc[row, "state"] = "done" if scores.exists() else "missing"
    return runs


def _find_log(logs: Path, run: Run, out: Path) -> str:
    """Path of the log of a run's training from the report's folder; empty where there is none."""
    name = Path(run.task, run.protocol, run.architecture, f"{run.seed}.log")
    found = [logs / rule / name for rule in ("train", "fit_baseline") if (logs / rule / name).exists()]
    return Path(os.path.relpath(found[0], out)).as_posix() if found else ""


def _run_of(row: pd.Series) -> Run:
    return Run(str(row["task"]), str(row["protocol"]), str(row["architecture"]), int(row["seed"]))


def _folder(results: Path, run: Run) -> Path:
    return results / "runs" / run.task / run.protocol / run.architecture / str(run.seed)


def _read_finished(results: Path, runs: pd.DataFrame) -> Iterator[FinishedRun]:
    for _, row in runs[runs["state"] == "done"].iterrows():
        run = _run_of(row)
        folder = _folder(results, run)
        if not (folder / "metrics.json").exists():
            log.warning("%s: listed as done, but metrics.json is missing", folder)
            continue
        yield FinishedRun(run, json.loads((folder / "metrics.json").read_text(encoding="utf-8")), folder)


def describe_task(name: str, finished: Sequence[FinishedRun]) -> Task:
    """The task as registered; one that is not is described from the scores of its runs."""
    if name in TASKS:
        return TASKS[name]
    metrics = finished[0].metrics if finished else {}
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
    """The dataset's index; None before it is made."""
    path = data / "index" / f"{dataset}.parquet"
    return pd.read_parquet(path) if path.exists() else None


def read_split(data: Path, task: str, protocol: str) -> pd.DataFrame | None:
    """The split with the lowest seed.

    Args:
        data: Folder that holds splits/.
        task: Name of the task.
        protocol: Name of the protocol.

    Returns:
        Columns of schema.SPLIT_COLUMNS; None before any split is made.
    """
    paths = sorted((data / "splits" / task / protocol).glob("*.parquet"), key=lambda path: (len(path.stem), path.stem))
    return pd.read_parquet(paths[0]) if paths else None


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
        The arrays, memory-mapped; None if there are none of this size.
    """
    folders = [path for path in (data / "prepared" / task).glob("*") if path.name.isdigit()]
    folders = [path for path in folders if (path / "images.npy").exists() and (path / "rows.parquet").exists()]
    folders = [path for path in folders if size in (None, int(path.name))]
    if not folders:
        return None
    folder = min(folders, key=lambda path: int(path.name))
    masks = folder / "masks.npy"
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
