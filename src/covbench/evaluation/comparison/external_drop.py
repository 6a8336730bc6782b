"""Compare a model's internal scores with its scores on the images of other datasets, with intervals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from covbench.data.datasets import TASKS
from covbench.data.external import (
    COUNTS,
    SHARED,
    external_folder,
    find_external_tasks,
    share_labels,
    share_probabilities,
)
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.bootstrap import Draws, list_groups, score_runs
from covbench.evaluation.comparison.contestants import explain_unscored, group_models
from covbench.evaluation.comparison.evidence import count_evidence, is_rate
from covbench.evaluation.comparison.intervals import (
    STUCK,
    Estimate,
    estimate_difference,
    estimate_score,
    explain_scope,
    is_perfect,
)
from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.evaluation.external import Scores
from covbench.evaluation.predictions import KEPT
from covbench.experiment.plan import PlannedRun
from covbench.experiment.records import read_record
from covbench.experiment.runs import RunRecord, examine_runs, name_weights
from covbench.experiment.workflow_files import is_tested
from covbench.schema import CLASSIFICATION, LABELS_ONLY, SEGMENTATION, Task
from covbench.system.content_hashes import hash_content
from covbench.system.stage_files import name_remedy

log = logging.getLogger(__name__)

EXTERNAL_METRICS = {
    CLASSIFICATION: ("auroc", "accuracy", "balanced_accuracy", "sensitivity", "specificity"),
    SEGMENTATION: ("dice_lesion", "jaccard_lesion", "dice_lesion_volume"),
}
"""The metrics that are compared, on the labels that both datasets share. Accuracy also depends on COVID's share."""


class DrawnScores(NamedTuple):
    """A model's scores on one dataset: of each seed, and the same in each bootstrap draw."""

    scores: Sequence[Scores]
    draws: Sequence[Draws]


def compare_external(plan: Sequence[PlannedRun], root: Path = Path()) -> pd.DataFrame:
    """Make the table `external`: the scores of every planned model on its own dataset and on every other that fits.

    `internal` is the score on the run's own test fold, with the labels that both datasets share. `drop` is internal
    minus external score, with its interval. Groups of the two datasets are drawn independently. A seed's two scores are
    paired, because one training made both. If scores are missing, or come from another training, the row has the reason
    instead.

    root: the folder that holds data/ and results/.
    """
    planned = list(dict.fromkeys(entry.run.task for entry in plan))
    tested = [entry for entry in plan if find_external_tasks(entry.run.task, planned)]
    rows: list[dict[str, Any]] = []
    for names, seeds in group_models(examine_runs(tested, root)):
        internal = cache(partial(_score_internal, seeds))
        for other in find_external_tasks(names["task"], planned):
            weights = {"weights": name_weights(seeds)}
            rows += [
                {**names, "tested_on": other} | row | weights for row in _compare_seeds(seeds, internal, other, root)
            ]
    return pd.DataFrame(rows, columns=list(COMPARE_TABLES["external"]))


def _compare_seeds(
    seeds: Sequence[RunRecord], internal: Callable[[], DrawnScores], other: str, root: Path
) -> Iterator[dict[str, Any]]:
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
    scores = [
        (found["seeds"][str(scored.seed)], cases[cases["seed"] == scored.seed].reset_index(drop=True))
        for scored in seeds
    ]
    sides = (internal(), _draw_scores(scores, first_seed=1))
    for metric in names:
        yield {"metric": metric, "seeds": len(seeds), **counts} | _compare(metric, sides)


def _read_external(folder: Path, seeds: Sequence[RunRecord]) -> tuple[dict[str, Any], str]:
    """Read metrics.json of a model on another task, and the reason why it cannot be used; empty if it can."""
    if unscored := explain_unscored(seeds):
        return {}, unscored
    if not is_tested(seeds[0].planned):
        return {}, "it was asked for its own dataset alone; external: true in contestant.yaml asks for others"
    if not (folder / "metrics.json").exists():
        return {}, "not tested there yet"
    try:
        metrics = read_record(folder / "metrics.json")
        recorded = metrics.get("files", {}).get("cases.parquet", "")
        if recorded and hash_content(folder / "cases.parquet") != recorded:
            raise ValueError("its cases.parquet is not what was written")
    except (ValueError, OSError) as error:
        return {}, f"{folder / 'metrics.json'} cannot be read ({error}); {name_remedy(folder / 'metrics.json')}"
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
    kept = [name for name in (*KEPT, LABELS_ONLY) if name in scored.cases]
    table = scored.cases[kept].assign(fold="test", truth=truth, p_0=shared[:, 0], p_1=shared[:, 1])
    return evaluate_classification(table, SHARED[CLASSIFICATION])


def _score_internal(seeds: Sequence[RunRecord]) -> DrawnScores:
    return _draw_scores([_reduce(scored, TASKS[scored.task]) for scored in seeds], first_seed=0)


def _draw_scores(scores: Sequence[Scores], first_seed: int) -> DrawnScores:
    """Score each seed in the same bootstrap draws. first_seed: 0 for internal, 1 for external: independent draws."""
    return DrawnScores(scores, score_runs(scores, list_groups(cases for _, cases in scores), first_seed))


def _compare(metric: str, sides: Sequence[DrawnScores]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    values, draws, groups = [], [], []
    for side, (scores, found) in zip(("internal", "external"), sides, strict=True):
        known = [metrics["metrics"][metric] for metrics, _ in scores]
        if None in known:
            reasons = {metrics["undefined"].get(metric, "undefined") for metrics, _ in scores}
            return {"covers": "", "reason": f"{side}: {'; '.join(sorted(reasons))}"}
        values.append(np.array(known, np.float64))
        draws.append(np.stack([several["", metric] for several in found]))
        groups.append(count_evidence(scores[0][0], pd.concat([cases for _, cases in scores]))["", metric])
        estimate = estimate_score(values[-1], draws[-1], groups[-1], is_rate(scores[0][0]["kind"], metric))
        row |= estimate.name_columns(side)
    drop = estimate_difference(values[0] - values[1], draws[0] - draws[1], min(groups))
    if any(map(is_perfect, values, draws)):
        drop = Estimate(drop.value, drop.groups, reason=STUCK)
    return row | drop.name_columns("drop") | {"covers": drop.covers, "reason": explain_scope(drop, len(values[0]))}
