"""Forecast what the planned runs that are still to do will cost: hours, memory and disk."""

from __future__ import annotations

import fnmatch
import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from covbench.experiment.accepted_edits import find_acceptance
from covbench.experiment.plan import PlannedRun
from covbench.experiment.provenance import find_differences
from covbench.experiment.run_files import read_manifest
from covbench.experiment.runs import RunRecord, RunState, examine_runs
from covbench.experiment.shapes import suggest
from covbench.operations.gpu_classes import SETUP_SECONDS, GpuClass, read_classes
from covbench.operations.network_work import count_setting
from covbench.operations.run_costs import Cost, count_folds, estimate_cost, learn_cost
from covbench.operations.step_model import describe_error, leave_one_out
from covbench.operations.step_timings import ESTIMATED, StepTimings, describe_setting
from covbench.schema import CovbenchError, Trial
from covbench.system.gpu_leases import list_gpus

HELP = """\
Forecast what the planned trainings that are missing or stale will cost: hours, memory and disk of each task, protocol
and architecture, and of the whole study on 1, 2 and 8 GPUs.

BASIS says where a line comes from:
  finished   runs of the same task, protocol and architecture that have finished
  measured   a timing: a few steps of this network on this machine, in a separate process
  estimated  the timings of other networks, by multiply-adds, bytes, layers and parameters. The last lines say how far
             such estimates were off for the networks that were timed.

Timing takes at most --minutes: first a few cheap networks of different kinds, from which all others are estimated, then
the networks of the plan, the quickest first. benchmarks/timing keeps all timings, so the next forecast measures more of
them. More than 40 lines are folded into one for each task and protocol; --only shows every line.

Where no GPU is at hand, the study is also estimated for classes of GPUs, from their data sheets. Nothing of that is
measured. `in halves` counts runs whose batches have to be cut into two micro-batches to fit into the memory, as the
training does. kWh are the board's largest power times hours: an upper bound for the GPUs alone, without their host.

The trials of a search have a line of their own for each network. They keep no model.

Every epoch is counted, so runs that stop early are shorter than forecast. Several trainings at once on one CPU slow
each other down. `~` before a number of images means that no split exists yet. Baselines take seconds to minutes and are
not listed.
"""
EXAMPLES = """\
examples:
  covbench forecast --configfile config/demo.yaml --directory demo
  covbench forecast --minutes 60               measure more networks, for up to an hour
  covbench forecast --minutes 0                time nothing: finished runs and earlier timings only
  covbench forecast --only 'vgg*' resnet50     these networks only, a line for each task and protocol
  covbench forecast --only '*'                 a line for each network too
  covbench forecast --gpus 4                   four runs at once, as with snakemake --resources gpu=4
"""


@dataclass(frozen=True)
class Line:
    """The runs of one task, protocol and architecture that are still to do, or the trials of their search.

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


@dataclass(frozen=True)
class Forecast:
    """A whole forecast.

    lines: on this machine. on_classes: the same runs on classes of GPUs; empty where a GPU is at hand.
    finished: number of planned trainings that have finished. error: how far estimates are off; empty if unknown.
    """

    lines: list[Line]
    on_classes: list[tuple[GpuClass, list[Line]]]
    finished: int
    error: str


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


def forecast_study(plan: Sequence[PlannedRun], root: Path, seconds: float) -> Forecast:
    """Forecast the planned trainings that are missing or stale, here and on classes of GPUs.

    Args:
        plan: As experiment.plan.plan_runs.
        root: The folder that holds data/, results/ and benchmarks/.
        seconds: How long to time networks without a known cost; 0 times none.

    Returns:
        The forecast. It has no lines if nothing is to do.
    """
    records = _examine_trainings(plan, root)
    groups, known = group_trainings(records), StepTimings(root)
    lines = _forecast_groups(groups, known, root, seconds)
    classes = () if list_gpus() else read_classes()
    by_group = [forecast_on(classes, line, to_do, known, root) for line, (to_do, _) in zip(lines, groups, strict=True)]
    return Forecast(
        lines=lines,
        on_classes=list(zip(classes, map(list, zip(*by_group, strict=True)), strict=True)) if groups else [],
        finished=sum(record.planned.is_deep and record.state in TRAINED for record in records),
        error=_describe_error(known, plan),
    )


def forecast_trainings(plan: Sequence[PlannedRun], root: Path, seconds: float) -> list[Line]:
    """Forecast the planned trainings that are missing or stale on this machine.

    Args:
        plan: As experiment.plan.plan_runs.
        root: The folder that holds data/, results/ and benchmarks/.
        seconds: How long to time networks; 0 times none.

    Returns:
        The lines of forecast_study.
    """
    return _forecast_groups(group_trainings(_examine_trainings(plan, root)), StepTimings(root), root, seconds)


def _examine_trainings(plan: Sequence[PlannedRun], root: Path) -> list[RunRecord]:
    return [*examine_trials(plan, root), *examine_runs(plan, root)]


def examine_trials(plan: Iterable[PlannedRun], root: Path) -> list[RunRecord]:
    """Examine every trial of the planned runs: trained, stale or missing. `root` is the folder that holds results/."""
    return [_examine_trial(trial, root) for planned in plan for trial in planned.trials]


def _examine_trial(trial: PlannedRun, root: Path) -> RunRecord:
    try:
        manifest = read_manifest(root / trial.run.folder / "manifest.json", trial.run)
    except (ValueError, OSError) as error:
        return RunRecord(trial, RunState.MISSING, root, str(error))
    differences = find_differences(trial, manifest, root)
    state = RunState.STALE if differences and not find_acceptance(differences, manifest) else RunState.TRAINED
    return RunRecord(trial, state, root, differences=differences, manifest=manifest)


def _forecast_groups(groups: Sequence[Group], known: StepTimings, root: Path, seconds: float) -> list[Line]:
    known.measure([run.planned for to_do, finished in groups if not finished for run in to_do], seconds)
    return [forecast_line(to_do, finished, known, root) for to_do, finished in groups]


def group_trainings(records: Iterable[RunRecord]) -> list[Group]:
    """Group trainings by task, protocol and architecture: those still to do, and those that have finished.

    The trials of a search are a group of their own. Groups with nothing to do are left out.
    """
    groups: dict[tuple[str, str, str, bool], Group] = {}
    for run in records:
        if run.planned.is_deep and run.state in (RunState.MISSING, RunState.STALE, *TRAINED):
            key = run.task, run.protocol, run.architecture, isinstance(run.run, Trial)
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
        The line. Its cost is that of the finished runs if there are any. Otherwise timings give it.
    """
    planned = to_do[0].planned
    folds = count_folds(planned, root)
    cost = None
    if finished:
        cost = learn_cost(finished)
    elif found := known.find(planned):
        cost = estimate_cost(planned, folds, *found)
    trials = " trials" * isinstance(planned.run, Trial)
    names = planned.run.task, planned.run.protocol, f"{planned.run.architecture}{trials}"
    return Line(*names, len(to_do), sum(folds.values()), (root / planned.inputs.split).exists(), cost)


def forecast_on(
    classes: Sequence[GpuClass], here: Line, to_do: Sequence[RunRecord], known: StepTimings, root: Path
) -> list[Line]:
    """Forecast the runs of one task, protocol and architecture on classes of GPUs.

    Args:
        classes: The classes.
        here: The same runs on this machine.
        to_do: The runs that are missing or stale.
        known: Timings of this machine, which say how long a network takes to build and trace.
        root: The folder that holds data/ and results/.

    Returns:
        A line for each class. Its cost is None if the table of networks lacks this one.
    """
    planned = to_do[0].planned
    work = count_setting(describe_setting(planned))
    if work is None:
        return [replace(here, cost=None)] * len(classes)
    found, folds, precision = known.find(planned), count_folds(planned, root), planned.settings.precision
    setup = found[0]["setup"] if found else work.passes * SETUP_SECONDS
    costs = []
    for gpu in classes:
        parts = gpu.fit_batch(work, precision)
        cost = estimate_cost(planned, folds, gpu.estimate(work, precision, setup), ESTIMATED)
        memory = gpu.estimate_memory(work, precision, parts or 2)
        costs.append(replace(cost, gpu_mb=memory, micro_batches=parts))
    return [replace(here, cost=cost) for cost in costs]


def _describe_error(known: StepTimings, plan: Sequence[PlannedRun]) -> str:
    """Say how far estimates of timed networks are off, with the settings of the first training."""
    first = next((planned for planned in plan if planned.is_deep), None)
    if first is None:
        return ""
    quotients = leave_one_out(known.select_like(first))
    return describe_error(quotients) if quotients else ""


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
