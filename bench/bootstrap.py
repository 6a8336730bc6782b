"""Intervals of 40 models on 15,000 patients, 10,000 draws: seconds and memory for scores, tables and model pairs"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.processes import call_fresh
from bench.rows import Row
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.bootstrap import list_groups, score_runs
from covbench.evaluation.comparison.compare import compare_task
from covbench.evaluation.comparison.draws import BLOCK, DRAWS
from covbench.evaluation.external import Scores
from covbench.evaluation.ratios import divide
from covbench.schema import CLASSIFICATION, Run, Task

MODELS, FEW, PATIENTS = 40, 2, 15_000
TASK = Task("radiography", CLASSIFICATION, ("covid", "normal", "viral_pneumonia"))
Cost = dict[str, float]


def measure() -> list[Row]:
    """Make the tables of all models, then score FEW models in both ways, each in a separate process."""
    tables = call_fresh("bench.bootstrap:make_tables", MODELS)
    few, former = (call_fresh(f"bench.bootstrap:{name}", FEW) for name in ("score_models", "score_densely"))
    size = f"{PATIENTS:,} patients with an image each, {DRAWS:,} draws, {len(TASK.classes)} classes"
    work = f"{size}; {MODELS * (MODELS - 1) // 2} model pairs; by the clock, {tables['cpu']:.0f} s of the processor"
    ranked = "other side: dense sums of ranks x draws, for confusion matrices, AUROC and average precision alone"
    shares = former["cpu"] / few["cpu"], former["peak"] / few["peak"]
    return [
        Row(f"{MODELS} models, scores and tables", tables["wall"], math.nan, "s", tables["wall"], "<= 60", work),
        Row(
            f"{MODELS} models, memory", tables["peak"], math.nan, "MiB", tables["peak"], "<= 1000", "the whole process"
        ),
        Row(f"{FEW} models, scores", few["cpu"], former["cpu"], "s", shares[0], "", f"of the processor; {ranked}"),
        Row(f"{FEW} models, memory", few["peak"], former["peak"], "MiB", shares[1], "", "as the line above"),
    ]


def score_models(models: int) -> Cost:
    """Draw patients and score models in every draw. Returns `wall` and `cpu` in seconds, `peak` in MiB."""
    runs = [predict(model) for model in range(models)]
    return _take_cost(lambda: score_runs(runs, list_groups(cases for _, cases in runs)))


def make_tables(models: int) -> Cost:
    """Make every table of a task, which includes draws, scores and model pairs. Returns the same as score_models."""
    from tests.run_records import score_record

    runs = [
        score_record(Run(TASK.name, "audited", f"model{model:02d}", 0), *predict(model, duplicates=True))
        for model in range(models)
    ]
    return _take_cost(lambda: compare_task(runs, pd.DataFrame(columns=["image_id"])))


def score_densely(models: int) -> Cost:
    """Score models as before: all draws are kept, and ranks x draws are summed. Returns the same as score_models."""
    runs = [predict(model) for model in range(models)]

    def score() -> None:
        kept = np.empty((PATIENTS, DRAWS), np.uint16)
        for start in range(0, DRAWS, BLOCK):
            chosen = np.random.default_rng(start).integers(0, PATIENTS, (BLOCK, PATIENTS))
            flat = (chosen + np.arange(BLOCK)[:, None] * PATIENTS).ravel()
            counts = np.bincount(flat, minlength=BLOCK * PATIENTS).reshape(BLOCK, PATIENTS)
            kept[:, start : start + BLOCK] = np.ascontiguousarray(counts.T, np.float64)
        for _, cases in runs:
            for start in range(0, DRAWS, BLOCK):
                _score_block(cases, kept[:, start : start + BLOCK].astype(np.float64))

    return _take_cost(score)


def _score_block(cases: pd.DataFrame, weights: np.ndarray) -> None:
    truth, classes = cases["truth"].to_numpy(), len(TASK.classes)
    confusion = np.eye(classes**2)[truth * classes + cases["predicted"].to_numpy()]
    weights.T @ confusion
    for number in range(classes):
        order = np.argsort(-cases[f"p_{number}"].to_numpy())
        drawn, inside = weights[order].astype(np.float32), (truth[order] == number)[:, None]
        hits, misses = drawn * inside, drawn * ~inside
        above, below = _accumulate(hits), _accumulate(misses)
        divide(np.einsum("gb,gb->b", misses, above - hits / 2), above[-1] * below[-1])
        divide(np.einsum("gb,gb->b", hits, above / np.maximum(above + below, 1)), above[-1])


def _accumulate(rows: np.ndarray) -> np.ndarray:
    sums = rows.copy()
    for row in range(1, len(sums)):
        sums[row] += sums[row - 1]
    return sums


def predict(model: int, duplicates: bool = False) -> Scores:
    """Score a model whose probabilities all differ. duplicates: whether every tenth image repeats the one before it."""
    rng, images = np.random.default_rng([1, model]), np.random.default_rng(0)
    names = np.array([f"p{number:05d}" for number in range(PATIENTS)])
    truth = images.choice(len(TASK.classes), PATIENTS, p=(0.24, 0.67, 0.09))
    odds = rng.normal(0, 1, (PATIENTS, len(TASK.classes)))
    odds[np.arange(PATIENTS), truth] += 2.5
    shares = np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True)
    repeats = np.arange(PATIENTS) - (np.arange(PATIENTS) % 10 == 1) * duplicates
    rows = pd.DataFrame({"image_id": names, "copy": 0, "patient_id": names, "group": names, "source": ""})
    rows = rows.assign(duplicate_set=names[repeats], fold="test", truth=truth, seed=0)
    return evaluate_classification(rows.assign(**{f"p_{c}": shares[:, c] for c in range(len(TASK.classes))}), TASK)


def _take_cost(work: Callable[[], Any]) -> Cost:
    started = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    status = Path("/proc/self/status").read_text()  # ru_maxrss would start at the memory of the parent process
    return {"wall": wall, "cpu": cpu, "peak": int(re.search(r"VmHWM:\s*(\d+)", status)[1]) / 1024}  # type: ignore[index]
