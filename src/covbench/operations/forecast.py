"""What the planned runs that are still to do will cost: hours, memory and disk, before the first is launched."""

from __future__ import annotations

import argparse
import fnmatch
import heapq
import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from covbench.data.datasets import TASKS, dataset_of
from covbench.experiment.config import read_config
from covbench.experiment.plan import describe_plan
from covbench.experiment.status import Planned, examine_runs
from covbench.operations.step_timings import Calibrations
from covbench.protocols import split_rule
from covbench.schema import SEGMENTATION, CovbenchError
from covbench.system.disk import show_bytes
from covbench.training.checkpoints import KEPT_STATES
from covbench.training.schedule import REFRESH_BATCHES

HELP = """\
Say what the planned trainings that are missing or stale will cost: hours, memory and disk of each task, protocol and
architecture, and the total.

A line rests on finished runs of the same task, protocol and architecture where there are any, and otherwise on a
calibration: a few steps of the network on this machine, in a process of its own, kept in benchmarks/calibration for
the next time. A network that was calibrated at another size or batch only is scaled by its pixels. Epochs are counted
in full: early stopping makes runs shorter than forecast. Training several at once on one CPU makes each slower.
`~` before a number of images: no split is drawn yet. Baselines take seconds to minutes and are not listed.
"""
EXAMPLES = """\
examples:
  covbench forecast --configfile config/demo.yaml --directory demo
  covbench forecast --minutes 60       calibrate for up to an hour, then show what is known
  covbench forecast --minutes 0                calibrate nothing: finished runs and earlier calibrations
  covbench forecast --only 'vgg*' resnet50     these architectures alone
  covbench forecast --gpus 4                   four runs at once, as with snakemake --resources gpu=4
"""

# Images of a task as published, for a folder in which no data is yet; the index or the split says it better.
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
    *("A RUN", "ALL", "MEMORY", "GPU", "DISK", "RESTS ON"),
)
BYTES = 4  # of a float32
MASK_BYTES = 0.02  # of a predicted pixel, compressed


@dataclass(frozen=True)
class Cost:
    """Of one run: seconds; memory_mb and gpu_mb at their peak; disk_mb that stays, scratch_mb while it trains."""

    seconds: float
    memory_mb: float
    gpu_mb: float
    disk_mb: float
    scratch_mb: float
    rests_on: str


@dataclass(frozen=True)
class Line:
    """The runs of one task, protocol and architecture that are to do.

    images: of all folds; counted: in the split, or else estimated. cost: of each run, None where nothing is known.
    """

    task: str
    protocol: str
    architecture: str
    runs: int
    images: int
    counted: bool
    cost: Cost | None


Group = tuple[list[Planned], list[Planned]]


def group_trainings(planned: Iterable[Planned]) -> list[Group]:
    """The trainings of each task, protocol and architecture that has any to do: those, and those that are finished."""
    groups: dict[tuple[str, str, str], Group] = {}
    for run in planned:
        if run.entry["family"] == "deep" and run.state in ("missing", "stale", "finished"):
            key = run.entry["task"], run.entry["protocol"], run.entry["architecture"]
            groups.setdefault(key, ([], []))[run.state == "finished"].append(run)
    return [group for group in groups.values() if group[0]]


def forecast_line(to_do: Sequence[Planned], finished: Sequence[Planned], known: Calibrations, root: Path) -> Line:
    """What the runs to do of a group cost: as its finished ones did, or by calibration. root: holds data/, results/."""
    entry = to_do[0].entry
    folds = count_folds(entry, root)
    cost = None
    if finished:
        cost = learn_cost([run.entry for run in finished], root)
    elif found := known.find(entry):
        cost = estimate_cost(entry, folds, *found)
    names = entry["task"], entry["protocol"], entry["architecture"]
    return Line(*names, len(to_do), sum(folds.values()), (root / entry["files"]["split"]).exists(), cost)


def count_folds(entry: Mapping[str, Any], root: Path) -> dict[str, int]:
    """Images in train, val and test: of the split if it is drawn, or else as its rule divides the dataset."""
    split = root / entry["files"]["split"]
    if split.exists():
        counts = pd.read_parquet(split, columns=["fold"])["fold"].value_counts()
        return {name: int(counts.get(name, 0)) for name in ("train", "val", "test")}
    task = TASKS[entry["task"]]
    rule = split_rule(entry["protocol"], task)
    index = root / "data" / "index" / f"{dataset_of(task.name)}.parquet"
    if index.exists():
        images = int((~pd.read_parquet(index, columns=["excluded"])["excluded"]).sum())
    else:
        images = PUBLISHED_IMAGES.get(task.name, 300)
    train, val, test = (round(fraction * (rule.pool or images)) for fraction in rule.fractions)
    return {"train": train, "val": val or test, "test": test}


def learn_cost(finished: Sequence[Mapping[str, Any]], root: Path) -> Cost:
    """What runs that have finished took, the mean of each figure."""
    manifests = [json.loads((root / entry["folder"] / "manifest.json").read_text()) for entry in finished]
    sizes = [sum(file.stat().st_size for file in (root / entry["folder"]).iterdir()) for entry in finished]
    parameters = manifests[0].get("parameters", 0)
    return Cost(
        seconds=statistics.mean(manifest["seconds"] for manifest in manifests),
        memory_mb=max(manifest["peak_memory_mb"] for manifest in manifests),
        gpu_mb=max(manifest.get("peak_gpu_memory_mb") or 0 for manifest in manifests),
        disk_mb=statistics.mean(sizes) / 2**20,
        scratch_mb=parameters * BYTES * WEIGHTS_IN_STATE * KEPT_STATES / 2**20,
        rests_on=f"{len(finished)} finished",
    )


def estimate_cost(entry: Mapping[str, Any], folds: Mapping[str, int], timing: Mapping[str, float], note: str) -> Cost:
    """What a run takes by the calibration of its setting, every epoch counted."""
    options = entry["options"]
    batches = {name: -(-count // options["batch_size"]) for name, count in folds.items()}
    seconds = START_SECONDS + timing["setup"] + (batches["val"] + batches["test"]) * timing["forward"]
    for phase in ("head", "fine_tune"):
        epochs = options[f"{phase}_epochs"]
        refresh = (
            min(batches["train"], REFRESH_BATCHES) if phase == "fine_tune" and options["refresh_batch_norm"] else 0
        )
        an_epoch = batches["train"] * timing[phase] + (refresh + batches["val"]) * timing["forward"]
        views = str(options.get("augmented_views", "every_epoch"))
        if phase == "head" and views.isdigit() and epochs:  # features are computed once, and a head takes no time
            seconds += (int(views) * batches["train"] + batches["val"]) * timing["forward"]
        else:
            seconds += epochs * an_epoch
    model = timing["parameters"] * BYTES / 2**20
    masks = (folds["val"] + folds["test"]) * options["size"] ** 2 * MASK_BYTES / 2**20
    return Cost(
        seconds=seconds,
        memory_mb=timing["memory_mb"],
        gpu_mb=timing["gpu_mb"],
        disk_mb=model + (masks if TASKS[entry["task"]].kind == SEGMENTATION else 0),
        scratch_mb=model * WEIGHTS_IN_STATE * KEPT_STATES,
        rests_on=note,
    )


def wall_clock(lines: Iterable[Line], at_once: int) -> float:
    """Seconds until all runs are done, the longest begun first, `at_once` of them side by side."""
    ends = [0.0] * at_once
    costs = sorted((line.cost.seconds for line in lines if line.cost for _ in range(line.runs)), reverse=True)
    for seconds in costs:
        heapq.heappushpop(ends, ends[0] + seconds)
    return max(ends)


def show_lines(lines: Sequence[Line], at_once: int) -> str:
    """The table and the totals as text."""
    rows = [COLUMNS, *(_show_line(line) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    known = [(line, line.cost) for line in lines if line.cost]
    total = sum(line.runs * cost.seconds for line, cost in known)
    disk = sum(line.runs * cost.disk_mb for line, cost in known)
    scratch = max((cost.scratch_mb for _, cost in known), default=0) * at_once
    unknown = sum(line.runs for line in lines if not line.cost)
    text = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    text += [
        "",
        f"{sum(line.runs for line, _ in known)} runs: {show_seconds(total)} one after another, "
        f"{show_seconds(wall_clock(lines, at_once))} with {at_once} at once",
        f"disk: {_show_mb(disk)} of results, and {_show_mb(scratch)} of states while they train",
    ]
    if unknown:
        text.append(f"{unknown} runs are not in it: not calibrated yet; give more --minutes, it goes on from here")
    return "\n".join(text)


def _show_line(line: Line) -> tuple[str, ...]:
    images = f"{'' if line.counted else '~'}{line.images}"
    names = (line.task, line.protocol, line.architecture, str(line.runs), images)
    if line.cost is None:
        return (*names, "?", "?", "?", "?", "?", "nothing yet")
    cost = line.cost
    times = show_seconds(cost.seconds), show_seconds(line.runs * cost.seconds)
    gpu = _show_mb(cost.gpu_mb) if cost.gpu_mb else "-"
    return (*names, *times, _show_mb(cost.memory_mb), gpu, _show_mb(line.runs * cost.disk_mb), cost.rests_on)


def show_seconds(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _show_mb(megabytes: float) -> str:
    return show_bytes(round(megabytes * 2**20))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `covbench forecast`; see its --help."""
    options = _parse(arguments)
    try:
        plan = describe_plan(read_config(options.configfile))
    except CovbenchError as error:
        sys.exit(str(error))
    chosen = [e for e in plan if any(fnmatch.fnmatch(e["architecture"], name) for name in options.only)]
    groups = group_trainings(examine_runs(chosen, options.directory))
    known = Calibrations(options.directory)
    known.measure([run.entry for to_do, finished in groups if not finished for run in to_do], options.minutes * 60)
    lines = [forecast_line(to_do, finished, known, options.directory) for to_do, finished in groups]
    print(show_lines(lines, options.gpus))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "covbench forecast",
        description=HELP,
        epilog=EXAMPLES,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--configfile", type=Path, metavar="FILE", help="as for snakemake; without: config/config.yaml")
    parser.add_argument("--directory", type=Path, default=Path(), help="as for snakemake: holds data/ and results/")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="architectures, * stands for any text")
    parser.add_argument("--minutes", type=float, default=10, help="when to begin no other calibration; without: 10")
    parser.add_argument(
        "--gpus", type=int, default=1, help="runs at once, as in snakemake --resources gpu=N; without: 1"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
