"""Compare a model's internal scores with its scores on the images of other datasets, with intervals."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.datasets import TASKS
from covbench.data.external import SHARED, external_folder, find_external_tasks, share_labels, share_probabilities
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.bootstrap import DRAWS, draw_patients, find_interval, score_draws
from covbench.evaluation.external import COUNTS, Scores
from covbench.experiment.plan import PlannedRun
from covbench.experiment.runs import MODEL_KEYS, RunRecord, RunState, count_patients, examine_runs, name_weights
from covbench.schema import CLASSIFICATION, COMPARE_TABLES, SEGMENTATION, Task

log = logging.getLogger(__name__)

EXTERNAL_METRICS = {
    CLASSIFICATION: ("auroc", "accuracy", "balanced_accuracy", "sensitivity", "specificity"),
    SEGMENTATION: ("dice_lesion", "jaccard_lesion", "dice_lesion_volume"),
}
"""The metrics that are compared, on the labels that both datasets share. Accuracy also depends on COVID's share."""
BLOCK = 2000
"""Number of draws at a time. All draws of a dataset with 15,000 patients would need gigabytes."""


def compare_external(plan: Sequence[PlannedRun], root: Path = Path()) -> pd.DataFrame:
    """Make the table `external`: the scores of every planned network on its own dataset and on every other that fits.

    `internal` is the score on the run's own test fold, with the labels that both datasets share. `drop` is internal
    minus external score, with its interval. Patients of the two datasets are drawn independently, and seeds are
    averaged in each draw. If scores are missing, or come from another training, the row has the reason instead.

    root: the folder that holds data/ and results/.
    """
    planned = list(dict.fromkeys(entry.run.task for entry in plan))
    deep = [entry for entry in plan if entry.is_deep and find_external_tasks(entry.run.task, planned)]
    rows: list[dict[str, Any]] = []
    for key, group in groupby(sorted(examine_runs(deep, root), key=_model), key=_model):
        seeds, names = list(group), dict(zip(MODEL_KEYS, key, strict=True))
        for other in find_external_tasks(key[0], planned):
            weights = {"weights": name_weights(seeds)}
            rows += [{**names, "tested_on": other} | row | weights for row in _compare_seeds(seeds, other, root)]
    return pd.DataFrame(rows, columns=list(COMPARE_TABLES["external"]))


def _model(record: RunRecord) -> tuple[str, str, str]:
    return record.task, record.protocol, record.architecture


def _compare_seeds(seeds: Sequence[RunRecord], other: str, root: Path) -> Iterator[dict[str, Any]]:
    names = EXTERNAL_METRICS[TASKS[other].kind]
    run = seeds[0].run
    folder = root / external_folder(run.task, run.protocol, run.architecture, other)
    found, reason = _read_external(folder, seeds)
    counts = {name: found.get(name) for name in COUNTS}
    if not reason and not counts["images"]:
        reason = f"every image of {other} is known to the dataset of {run.task}"
    if reason:
        log.warning("%s: %s", folder, reason)
        yield from ({"metric": metric, "seeds": 0, **counts, "reason": reason} for metric in names)
        return
    cases = pd.read_parquet(folder / "cases.parquet")
    internal = [_reduce(scored, TASKS[run.task]) for scored in seeds]
    external = [
        (found["seeds"][str(scored.seed)], cases[cases["seed"] == scored.seed].reset_index(drop=True))
        for scored in seeds
    ]
    drawn = [_draw_scores(scores, names, side) for side, scores in enumerate((internal, external))]
    patients = [count_patients(seeds), int(found["patients"])]
    for metric in names:
        yield {"metric": metric, "seeds": len(seeds), **counts} | _compare(
            metric, (internal, external), drawn, patients
        )


def _read_external(folder: Path, seeds: Sequence[RunRecord]) -> tuple[dict[str, Any], str]:
    """Read metrics.json of a model on another task, and the reason why it cannot be used; empty if it can."""
    for scored in seeds:
        if scored.state is not RunState.SCORED:
            return {}, f"seed {scored.seed} is {scored.state}"
    if not (folder / "metrics.json").exists():
        return {}, "not tested there yet"
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    for scored in seeds if metrics["images"] else ():
        there = metrics["seeds"].get(str(scored.seed), {})
        if there.get("fingerprint") != scored.manifest["fingerprint"]:
            return {}, f"seed {scored.seed} was not tested there with the model that is here now"
    return metrics, ""


def _reduce(scored: RunRecord, task: Task) -> Scores:
    """Score the run's own test fold with the labels that both datasets share. Lesions are already scored as one."""
    if task.kind == SEGMENTATION:
        return scored.metrics, scored.cases
    columns = [f"p_{number}" for number in range(len(task.classes))]
    shared = share_probabilities(scored.cases[columns].to_numpy(), task)
    truth = share_labels(task)[scored.cases["truth"]].astype(np.int64)
    table = scored.cases[["image_id", "copy", "patient_id", "source"]]
    table = table.assign(fold="test", truth=truth, p_0=shared[:, 0], p_1=shared[:, 1])
    return evaluate_classification(table, SHARED[CLASSIFICATION])


def _draw_scores(seeds: Sequence[Scores], names: Sequence[str], side: int) -> dict[str, np.ndarray]:
    """Compute the scores in each bootstrap draw, averaged over seeds: float64, (DRAWS,), by metric.

    side: 0 for internal, 1 for external. The draws of the two sides are independent.
    """
    patients = pd.Index(sorted({patient for _, cases in seeds for patient in cases["patient_id"]}))
    blocks = []
    for start in range(0, DRAWS, BLOCK):
        weights = draw_patients(len(patients), BLOCK, seed=start + side)
        draws = [score_draws(metrics, cases, patients, weights) for metrics, cases in seeds]
        blocks.append([np.mean([drawn["", metric] for drawn in draws], axis=0) for metric in names])
    return dict(zip(names, np.concatenate(blocks, axis=1), strict=True))


def _compare(
    metric: str, sides: Sequence[Sequence[Scores]], drawn: Sequence[Mapping[str, np.ndarray]], patients: Sequence[int]
) -> dict[str, Any]:
    row: dict[str, Any] = {"reason": ""}
    means = []
    for side, scores, draws, count in zip(("internal", "external"), sides, drawn, patients, strict=True):
        values = [metrics["metrics"][metric] for metrics, _ in scores]
        if None in values:
            reasons = {metrics["undefined"].get(metric, "undefined") for metrics, _ in scores}
            return {"reason": f"{side}: {'; '.join(sorted(reasons))}"}
        means.append(float(np.mean(values)))
        low, high, _ = find_interval(draws[metric], count)
        row |= {side: means[-1], f"{side}_low": low, f"{side}_high": high}
    low, high, _ = find_interval(drawn[0][metric] - drawn[1][metric], min(patients))
    return row | {"drop": means[0] - means[1], "drop_low": low, "drop_high": high}
