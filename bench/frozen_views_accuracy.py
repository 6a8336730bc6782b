"""Accuracy of a head on eight kept views against the whole network in every epoch, on real images, by seed"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from pathlib import Path

import yaml

from bench.processes import ROOT
from bench.rows import NotHereError, Row
from bench.workflow import run_workflow

TASKS, SEEDS, EPOCHS, ARCHITECTURE = ("covid_ct", "radiography"), (0, 1, 2), 20, "mobilenetv2_035"


def measure() -> list[Row]:
    """Run `published` both ways, from the mirror to the scores. The ratio is difference of means / spread of seeds."""
    mirror = os.environ.get("MIRROR", "")
    if not Path(mirror, "weights").is_dir():
        raise NotHereError("no mirror of the datasets; give one: MIRROR=/path/to/mirror make bench")
    with tempfile.TemporaryDirectory() as folder:
        cached = _score(Path(folder), mirror, 8)
        literal = _score(Path(folder), mirror, "every_epoch")
    return [_compare(task, cached[task], literal[task]) for task in TASKS]


def _score(folder: Path, mirror: str, views: int | str) -> dict[str, list[float]]:
    """Return the test accuracy of each seed by task. A second call reuses the data and splits, and trains again."""
    mirror = str(Path(mirror).resolve())
    config = yaml.safe_load((ROOT / "config" / "sample.yaml").read_text())
    config |= {"tasks": list(TASKS), "protocols": ["published"], "seeds": list(SEEDS)}
    config |= {"fetch": {"mirror": mirror}, "weights": {"mirror": f"{mirror}/weights"}}
    config["options"] = {"published": {"classification": {"head_epochs": EPOCHS, "augmented_views": views}}}
    runs = {task: [f"results/runs/{task}/published/{ARCHITECTURE}/{seed}" for seed in SEEDS] for task in TASKS}
    run_workflow(folder, config, [f"{run}/metrics.json" for of_task in runs.values() for run in of_task])
    return {
        task: [float(json.loads((folder / run / "metrics.json").read_text())["metrics"]["accuracy"]) for run in of_task]
        for task, of_task in runs.items()
    }


def _compare(task: str, cached: list[float], literal: list[float]) -> Row:
    means = statistics.mean(cached), statistics.mean(literal)
    spread = max(literal) - min(literal)
    shown = [", ".join(f"{accuracy:.3f}" for accuracy in side) for side in (cached, literal)]
    note = f"{ARCHITECTURE}, {EPOCHS} epochs; seeds {shown[0]} against {shown[1]}; largest minus smallest {spread:.3f}"
    return Row(f"{task}, test accuracy", *means, "", abs(means[0] - means[1]) / spread, "<= 1", note)
