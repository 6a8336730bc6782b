"""Compare the scores of networks with those on images without the lungs, or with a part of the image alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.controls import CONTROLS
from covbench.data.datasets import TASKS
from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.bootstrap import Draws, list_groups, score_runs
from covbench.evaluation.comparison.contestants import explain_unscored, group_models
from covbench.evaluation.comparison.evidence import count_evidence
from covbench.evaluation.comparison.intervals import (
    STUCK,
    Estimate,
    estimate_difference,
    explain_scope,
    is_perfect,
)
from covbench.evaluation.comparison.shortcut_scores import estimate_auroc
from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.evaluation.external import Scores
from covbench.evaluation.predictions import KEPT
from covbench.experiment.plan import PlannedRun
from covbench.experiment.records import read_record
from covbench.experiment.runs import RunRecord, examine_runs, name_weights
from covbench.experiment.workflow_files import controls_folder, list_controlled
from covbench.schema import Task
from covbench.system.content_hashes import hash_content
from covbench.system.stage_files import find_damage, name_remedy

METRIC = "auroc"
CHANCE = 0.5
FLAGGED = "lungs_out"
"""The control that raises the flag: nothing of the lungs is left."""
YES, NO = "yes", "no"


@dataclass(frozen=True)
class Sides:
    """The seeds of a model on the same images: as they are, and altered."""

    full: Sequence[Scores]
    altered: Sequence[Scores]


def compare_controls(plan: Sequence[PlannedRun], root: Path = Path()) -> pd.DataFrame:
    """Make the table `controls`: the AUROC of every planned network of a classification under each control.

    A control is compared with the unaltered images of the same patients, in the same bootstrap draws.

    Args:
        plan: as covbench.experiment.plan.plan_runs.
        root: the folder that holds results/.

    Returns:
        A row per network and control. If scores are missing, or come from another training, it has the reason instead.
    """
    rows: list[dict[str, Any]] = []
    for names, seeds in group_models(examine_runs(list_controlled(plan), root)):
        more = {"metric": METRIC, "weights": name_weights(seeds)}
        rows += [names | more | row for row in _compare_model(seeds, root)]
    return pd.DataFrame(rows, columns=list(COMPARE_TABLES["controls"]))


def _compare_model(seeds: Sequence[RunRecord], root: Path) -> Iterator[dict[str, Any]]:
    run = seeds[0].run
    folder = root / controls_folder(run.task, run.protocol, run.architecture)
    if reason := find_obstacle(folder / "predictions.parquet", seeds):
        yield from ({"control": control, "seeds": 0, "reason": reason} for control in CONTROLS)
        return
    predictions = pd.read_parquet(folder / "predictions.parquet")
    cases = {scored.seed: scored.cases for scored in seeds}
    yield from compare_predictions(cases, predictions, TASKS[run.task])


def find_obstacle(table: Path, seeds: Sequence[RunRecord]) -> str:
    """Return why a table of a network's controls cannot be read; empty if it can.

    table: in the folder of the controls. seeds: of the network.
    """
    if unscored := explain_unscored(seeds):
        return unscored
    manifest = table.parent / "manifest.json"
    if not manifest.exists():
        return "not tested yet"
    try:
        made_with = read_record(manifest)["fingerprints"]
    except (ValueError, OSError, KeyError) as error:
        return f"{manifest} cannot be read ({error}); {name_remedy(manifest)}"
    if problem := find_damage(table, hash_content):
        return f"{problem}; {name_remedy(table)}"
    for scored in seeds:
        if made_with.get(str(scored.seed)) != scored.manifest["fingerprint"]:
            return f"seed {scored.seed} was not tested with the model that is here now"
    return ""


def compare_predictions(
    cases: dict[int, pd.DataFrame], predictions: pd.DataFrame, task: Task
) -> Iterator[dict[str, Any]]:
    """Compare each control of a network with its unaltered images.

    Args:
        cases: by seed, cases.parquet of the run.
        predictions: of all seeds and controls, as training.predict_controls writes them.
        task: the task.

    Yields:
        A row per control: `control`, and the columns of the table `controls` from `seeds` on.
    """
    groups = list_groups(cases.values())
    for control in CONTROLS:
        mine = predictions[predictions["control"] == control]
        tables = {seed: mine[mine["seed"] == seed].reset_index(drop=True) for seed in cases}
        counts = _count_images(cases, mine)
        if missing := [str(seed) for seed, table in tables.items() if table.empty]:
            reason = f"no lungs were found in any image of seed {', '.join(missing)}"
            yield {"control": control, "seeds": 0, **counts, "reason": reason}
            continue
        sides = Sides(
            [evaluate_classification(_restore(cases[seed], table), task) for seed, table in tables.items()],
            [evaluate_classification(table, task) for table in tables.values()],
        )
        yield {"control": control, "seeds": len(cases), **counts} | _compare(sides, groups, control == FLAGGED)


def _count_images(cases: dict[int, pd.DataFrame], mine: pd.DataFrame) -> dict[str, int]:
    images = pd.concat([table["image_id"] for table in cases.values()]).nunique()
    used = mine["image_id"].nunique()
    return {"images": used, "groups": mine["group"].nunique(), "left_out": images - used}


def _restore(cases: pd.DataFrame, altered: pd.DataFrame) -> pd.DataFrame:
    """The predictions of a run for the unaltered images of `altered`, from its cases."""
    probabilities = [name for name in cases if str(name).startswith("p_")]
    same = cases[cases["image_id"].isin(altered["image_id"])].reset_index(drop=True)
    return same[[*KEPT, "truth", *probabilities]].assign(fold="test")


def _compare(sides: Sides, groups: pd.Index, decides: bool) -> dict[str, Any]:
    drawn = score_runs([*sides.full, *sides.altered], groups)
    half = len(sides.full)
    row: dict[str, Any] = {}
    estimates, values, draws = [], [], []
    for name, scores, found in (("full", sides.full, drawn[:half]), ("altered", sides.altered, drawn[half:])):
        known = [metrics["metrics"][METRIC] for metrics, _ in scores]
        if None in known:
            reasons = {metrics["undefined"].get(METRIC, "undefined") for metrics, _ in scores}
            return {"covers": "", "flag": "", "reason": f"{name}: {'; '.join(sorted(reasons))}"}
        values.append(np.array(known, np.float64))
        draws.append(_stack(found))
        estimates.append(estimate_auroc(values[-1], draws[-1], _count_groups(scores)))
        row |= estimates[-1].name_columns(name)
    full, altered = estimates
    change = estimate_difference(values[1] - values[0], draws[1] - draws[0], min(full.groups, altered.groups))
    if any(map(is_perfect, values, draws)):
        change = Estimate(change.value, change.groups, reason=STUCK)
    row |= change.name_columns("change") | {"covers": full.covers}
    kept = (altered.value - CHANCE) / (full.value - CHANCE) if full.value > CHANCE else None
    flag = raise_flag(full, altered) if decides else ""
    return row | {"kept": kept, "flag": flag, "reason": explain_scope(full, half)}


def _stack(found: Iterable[Draws]) -> np.ndarray:
    return np.stack([several["", METRIC] for several in found])


def _count_groups(scores: Sequence[Scores]) -> int:
    return count_evidence(scores[0][0], pd.concat([cases for _, cases in scores]))["", METRIC]


def raise_flag(full: Estimate, altered: Estimate) -> str:
    """Say whether a network needs no lungs: its score without them is within the interval of the full image.

    It must also be above chance with its whole interval, so that a network that has learned nothing is not flagged.

    full: AUROC on unaltered images. altered: on the same without lungs. Returns YES or NO; empty without intervals.
    """
    if np.isnan(full.low):
        return ""
    if altered.value < full.low or altered.value <= CHANCE:
        return NO
    return "" if np.isnan(altered.low) else YES if altered.low > CHANCE else NO
