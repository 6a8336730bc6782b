"""Forecast what the planned runs that are still to do will cost: hours, memory and disk."""

from __future__ import annotations

import fnmatch
import heapq
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from covbench.data.datasets import TASKS, dataset_of
from covbench.experiment.config import suggest
from covbench.experiment.plan import PlannedRun
from covbench.experiment.runs import RunRecord, RunState, examine_runs
from covbench.operations.step_timings import StepTimings
from covbench.protocols import SplitRule, split_rule
from covbench.schema import SEGMENTATION, CovbenchError
from covbench.system.disk import show_bytes
from covbench.training.checkpoints import KEPT_STATES
from covbench.training.schedule import REFRESH_BATCHES

HELP = """\
Forecast what the planned trainings that are missing or stale will cost: hours, memory and disk of each task, protocol
and architecture, and the total.

A line is based on the finished runs of the same task, protocol and architecture if there are any. Otherwise it is based
on a timing: a few steps of the network on this machine, in a separate process. benchmarks/timing keeps the timing for
the next time. A network that was timed at another size or batch size is scaled by its pixels. Every epoch is counted,
so runs that stop early are shorter than forecast. Several trainings at once on one CPU slow each other down. `~` before
a number of images means that no split exists yet. Baselines take seconds to minutes and are not listed.
"""
EXAMPLES = """\
examples:
  covbench forecast --configfile config/demo.yaml --directory demo
  covbench forecast --minutes 60               time networks for up to an hour, then show what is known
  covbench forecast --minutes 0                time nothing: finished runs and earlier timings only
  covbench forecast --only 'vgg*' resnet50     these networks only
  covbench forecast --gpus 4                   four runs at once, as with snakemake --resources gpu=4
"""

# Images of a task as published, for a folder without data. The split or the index is used if it exists.
PUBLISHED_IMAGES = {
    "ieee8023_xray": 500,
    "covid_ct": 746,
    "sarscov2_ct": 2481,
    "radiography": 15153,
    "zenodo_infection": 3520,
    "zenodo_multiclass": 3520,
    "medseg_multiclass": 929,
}
START_SECONDS = 8  # imports of TensorFlow and Keras, reading, saving
WEIGHTS_IN_STATE = 4  # the model, two moments of Adam, the best weights
COLUMNS = (
    *("TASK", "PROTOCOL", "ARCHITECTURE", "RUNS", "IMAGES"),
    *("A RUN", "ALL", "MEMORY", "GPU", "DISK", "BASIS"),
)
BYTES = 4  # of a float32
MASK_BYTES = 0.02  # of a predicted pixel, compressed


@dataclass(frozen=True)
class Cost:
    """The cost of one run.

    memory_mb, gpu_mb: peak memory. disk_mb: of its results. scratch_mb: of its checkpoints while it trains.
    basis: what the forecast is based on.
    """

    seconds: float
    memory_mb: float
    gpu_mb: float
    disk_mb: float
    scratch_mb: float
    basis: str


@dataclass(frozen=True)
class Line:
    """The runs of one task, protocol and architecture that are still to do.

    images: of all folds. counted: whether they are counted in the split; otherwise they are estimated.
    cost: of each run; None if it is unknown.
    """

    task: str
    protocol: str
    architecture: str
    runs: int
    images: int
    counted: bool
    cost: Cost | None


TRAINED = (RunState.TRAINED, RunState.SCORED)
Group = tuple[list[RunRecord], list[RunRecord]]


def choose_trainings(plan: Sequence[PlannedRun], only: Sequence[str]) -> list[PlannedRun]:
    """Choose the planned runs whose network is in `only`, where * matches any text; all runs if it is empty.

    Raises CovbenchError for a name that matches no planned network.
    """
    known = sorted({planned.run.architecture for planned in plan if planned.is_deep})
    for name in only:
        if not fnmatch.filter(known, name):
            raise CovbenchError(f"--only {name}: no planned network has this name; {suggest(name, known)}")
    return [run for run in plan if any(fnmatch.fnmatch(run.run.architecture, name) for name in only or ["*"])]


def forecast_trainings(plan: Sequence[PlannedRun], root: Path, seconds: float) -> list[Line]:
    """Forecast the planned trainings that are missing or stale.

    Args:
        plan: As experiment.plan.plan_runs.
        root: The folder that holds data/, results/ and benchmarks/.
        seconds: How long to time networks without a known cost; 0 times none.

    Returns:
        A line per task, protocol and architecture with a training to do.
    """
    groups = group_trainings(examine_runs(plan, root))
    known = StepTimings(root)
    known.measure([run.planned for to_do, finished in groups if not finished for run in to_do], seconds)
    return [forecast_line(to_do, finished, known, root) for to_do, finished in groups]


def group_trainings(records: Iterable[RunRecord]) -> list[Group]:
    """Group trainings by task, protocol and architecture: those still to do, and those that have finished.

    Groups with nothing to do are left out.
    """
    groups: dict[tuple[str, str, str], Group] = {}
    for run in records:
        if run.planned.is_deep and run.state in (RunState.MISSING, RunState.STALE, *TRAINED):
            key = run.task, run.protocol, run.architecture
            groups.setdefault(key, ([], []))[run.state in TRAINED].append(run)
    return [group for group in groups.values() if group[0]]


def forecast_line(to_do: Sequence[RunRecord], finished: Sequence[RunRecord], known: StepTimings, root: Path) -> Line:
    """Forecast the runs of one task, protocol and architecture.

    Args:
        to_do: The runs that are missing or stale.
        finished: The runs that have finished.
        known: Timings of this machine.
        root: The folder that holds data/ and results/.

    Returns:
        The line. Its cost is that of the finished runs if there are any. Otherwise a timing gives it.
    """
    planned = to_do[0].planned
    folds = count_folds(planned, root)
    cost = None
    if finished:
        cost = learn_cost(finished)
    elif found := known.find(planned):
        cost = estimate_cost(planned, folds, *found)
    names = planned.run.task, planned.run.protocol, planned.run.architecture
    return Line(*names, len(to_do), sum(folds.values()), (root / planned.inputs.split).exists(), cost)


def count_folds(planned: PlannedRun, root: Path) -> dict[str, int]:
    """Count the images in train, val and test: in the split if it exists, otherwise as its rule divides the dataset."""
    split = root / planned.inputs.split
    if split.exists():
        counts = pd.read_parquet(split, columns=["fold"])["fold"].value_counts()
        return {name: int(counts.get(name, 0)) for name in ("train", "val", "test")}
    task = TASKS[planned.run.task]
    rule = split_rule(planned.run.protocol, task)
    index = root / "data" / "index" / f"{dataset_of(task.name)}.parquet"
    if index.exists():
        images = int((~pd.read_parquet(index, columns=["excluded"])["excluded"]).sum())
    else:
        images = PUBLISHED_IMAGES.get(task.name, 300)
    return estimate_folds(rule, images)


def estimate_folds(rule: SplitRule, images: int) -> dict[str, int]:
    """Estimate the rows in train, val and test when a rule divides so many images. An official split may differ."""
    train, val, test = (round(fraction * (rule.pool or images)) for fraction in rule.fractions)
    if rule.base:
        base = estimate_folds(rule.base, images)
        test = base["test"]
        if not rule.pool:
            val = base["val"] if val else 0
            train = images - test - val
    return {"train": train, "val": val or test, "test": test}


def learn_cost(finished: Sequence[RunRecord]) -> Cost:
    """Compute the cost of a run from finished ones: mean seconds and disk, largest memory."""
    manifests = [run.manifest for run in finished]
    sizes = [sum(file.stat().st_size for file in run.folder.iterdir()) for run in finished]
    parameters = manifests[0].get("parameters", 0)
    return Cost(
        seconds=statistics.mean(manifest["seconds"] for manifest in manifests),
        memory_mb=max(manifest["peak_memory_mb"] for manifest in manifests),
        gpu_mb=max(manifest.get("peak_gpu_memory_mb") or 0 for manifest in manifests),
        disk_mb=statistics.mean(sizes) / 2**20,
        scratch_mb=parameters * BYTES * WEIGHTS_IN_STATE * KEPT_STATES / 2**20,
        basis=f"{len(finished)} finished",
    )


def estimate_cost(planned: PlannedRun, folds: Mapping[str, int], timing: Mapping[str, float], basis: str) -> Cost:
    """Estimate what a run costs from the timing of its setting. Every epoch counts.

    Args:
        planned: The run, of a network.
        folds: Images in `train`, `val` and `test`.
        timing: As time_steps.Timing: seconds per step, MB of memory, parameters.
        basis: What the timing is based on.

    Returns:
        The cost of one run.
    """
    options = planned.options
    assert options is not None, "a baseline has no timing"
    batches = {name: -(-count // options.batch_size) for name, count in folds.items()}
    seconds = START_SECONDS + timing["setup"] + (batches["val"] + batches["test"]) * timing["forward"]
    for phase, epochs in (("head", options.head_epochs), ("fine_tune", options.fine_tune_epochs)):
        refresh = min(batches["train"], REFRESH_BATCHES) if phase == "fine_tune" and options.refresh_batch_norm else 0
        an_epoch = batches["train"] * timing[phase] + (refresh + batches["val"]) * timing["forward"]
        views = options.augmented_views
        if phase == "head" and isinstance(views, int) and epochs:  # only computing the features takes time
            seconds += (views * batches["train"] + batches["val"]) * timing["forward"]
        else:
            seconds += epochs * an_epoch
    model = timing["parameters"] * BYTES / 2**20
    masks = (folds["val"] + folds["test"]) * options.size**2 * MASK_BYTES / 2**20
    return Cost(
        seconds=seconds,
        memory_mb=timing["memory_mb"],
        gpu_mb=timing["gpu_mb"],
        disk_mb=model + (masks if TASKS[planned.run.task].kind == SEGMENTATION else 0),
        scratch_mb=model * WEIGHTS_IN_STATE * KEPT_STATES,
        basis=basis,
    )


def wall_clock(lines: Iterable[Line], at_once: int) -> float:
    """Return the seconds until all runs are done, if `at_once` runs train at a time and the longest start first."""
    ends = [0.0] * at_once
    costs = sorted((line.cost.seconds for line in lines if line.cost for _ in range(line.runs)), reverse=True)
    for seconds in costs:
        heapq.heappushpop(ends, ends[0] + seconds)
    return max(ends)


def sum_disk(lines: Iterable[Line], at_once: int) -> tuple[float, float]:
    """Sum the MB of results, and of checkpoints while `at_once` runs train. Lines without a cost do not count."""
    known = [(line.runs, line.cost) for line in lines if line.cost]
    results = sum(runs * cost.disk_mb for runs, cost in known)
    return results, max((cost.scratch_mb for _, cost in known), default=0) * at_once


def show_lines(lines: Sequence[Line], at_once: int) -> str:
    """Show the table and the totals."""
    rows = [COLUMNS, *(_show_line(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    known = [(line, line.cost) for line in lines if line.cost]
    total = sum(line.runs * cost.seconds for line, cost in known)
    disk, scratch = sum_disk(lines, at_once)
    unknown = sum(line.runs for line in lines if not line.cost)
    text = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    text += [
        "",
        f"{sum(line.runs for line, _ in known)} runs: {show_seconds(total)} one after another, "
        f"{show_seconds(wall_clock(lines, at_once))} with {at_once} at once",
        f"disk: {_show_mb(disk)} of results, and {_show_mb(scratch)} of checkpoints while they train",
    ]
    if unknown:
        text.append(f"{unknown} runs are not included, because they are not timed yet; repeat with more --minutes")
    return "\n".join(text)


def _show_line(line: Line) -> tuple[str, ...]:
    images = f"{'' if line.counted else '~'}{line.images}"
    names = (line.task, line.protocol, line.architecture, str(line.runs), images)
    if line.cost is None:
        return (*names, "?", "?", "?", "?", "?", "nothing yet")
    cost = line.cost
    times = show_seconds(cost.seconds), show_seconds(line.runs * cost.seconds)
    gpu = _show_mb(cost.gpu_mb) if cost.gpu_mb else "-"
    return (*names, *times, _show_mb(cost.memory_mb), gpu, _show_mb(line.runs * cost.disk_mb), cost.basis)


def show_seconds(seconds: float) -> str:
    """Show seconds as `45 s`, `12 min` or `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _show_mb(megabytes: float) -> str:
    return show_bytes(round(megabytes * 2**20))
