"""What one run costs: seconds, memory and disk, from finished runs or from the timing of its steps."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from covbench.data.datasets import TASKS, dataset_of
from covbench.experiment.plan import PlannedRun
from covbench.experiment.runs import RunRecord
from covbench.operations.network_work import BYTES
from covbench.operations.step_timings import START_SECONDS
from covbench.protocols import SplitRule, split_rule
from covbench.schema import SEGMENTATION, Trial
from covbench.training.checkpoints import KEPT_STATES
from covbench.training.schedule import REFRESH_BATCHES

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
WEIGHTS_IN_STATE = 4  # the model, two moments of Adam, the best weights
MASK_BYTES = 0.02  # of a predicted pixel, compressed
FINISHED = "finished"


@dataclass(frozen=True)
class Cost:
    """The cost of one run.

    memory_mb, gpu_mb: peak memory. disk_mb: of its results. scratch_mb: of its checkpoints while it trains.
    basis: what the forecast is based on. micro_batches: parts of a batch that fit into a GPU's memory one by one; 0 if
    halves do not fit.
    """

    seconds: float
    memory_mb: float
    gpu_mb: float
    disk_mb: float
    scratch_mb: float
    basis: str
    micro_batches: int = 1


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
        basis=f"{len(finished)} {FINISHED}",
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
        if phase == "head" and isinstance(views, int) and epochs:  # features are computed once, then the head alone
            seconds += (views * batches["train"] + batches["val"]) * timing["forward"]
            seconds += epochs * batches["train"] * max(0.0, timing["head"] - timing["forward"])
        else:
            seconds += epochs * an_epoch
    model = timing["parameters"] * BYTES / 2**20
    masks = (folds["val"] + folds["test"]) * options.size**2 * MASK_BYTES / 2**20
    results = model + (masks if TASKS[planned.run.task].kind == SEGMENTATION else 0)
    return Cost(
        seconds=seconds,
        memory_mb=timing["memory_mb"],
        gpu_mb=timing["gpu_mb"],
        disk_mb=0.0 if isinstance(planned.run, Trial) else results,
        scratch_mb=model * WEIGHTS_IN_STATE * KEPT_STATES,
        basis=basis,
    )
