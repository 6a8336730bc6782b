"""Score where networks look: how well their Grad-CAM maps agree with lungs and lesions, against chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.data.lesions import REGIONS, keep_explained
from covbench.evaluation.comparison.bootstrap import mean_draws
from covbench.evaluation.comparison.contestants import group_models
from covbench.evaluation.comparison.controls import find_obstacle
from covbench.evaluation.comparison.draws import draw_blocks
from covbench.evaluation.comparison.intervals import estimate_difference, estimate_score, explain_scope
from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.experiment.plan import PlannedRun
from covbench.experiment.runs import RunRecord, examine_runs, name_weights
from covbench.experiment.workflow_files import controls_folder, list_controlled

NO_MASK = "no test image has a mask of this region"
NO_ANSWER = "no test image with a mask of this region was answered correctly"


def compare_focus(plan: Sequence[PlannedRun], root: Path = Path()) -> pd.DataFrame:
    """Make the table `focus`: how well the maps of every planned network of a classification agree with each region.

    Args:
        plan: as covbench.experiment.plan.plan_runs.
        root: the folder that holds results/.

    Returns:
        A row per network and region. If there is nothing to measure, it has the reason instead.
    """
    rows: list[dict[str, Any]] = []
    for names, seeds in group_models(examine_runs(list_controlled(plan), root)):
        more = {"weights": name_weights(seeds)}
        rows += [names | more | row for row in _measure_model(seeds, root)]
    return pd.DataFrame(rows, columns=list(COMPARE_TABLES["focus"]))


def _measure_model(seeds: Sequence[RunRecord], root: Path) -> Iterator[dict[str, Any]]:
    run = seeds[0].run
    table = root / controls_folder(run.task, run.protocol, run.architecture) / "focus.parquet"
    if reason := find_obstacle(table, seeds):
        yield from ({"region": region, "seeds": 0, "reason": reason} for region in REGIONS)
        return
    focus = pd.read_parquet(table)
    yield from (score_focus(focus, region) for region in REGIONS)


def score_focus(focus: pd.DataFrame, region: str) -> dict[str, Any]:
    """Score the maps of a network in a region, over groups of images and over its seeds.

    Args:
        focus: training.focus.FOCUS_COLUMNS of all seeds.
        region: a name of REGIONS.

    Returns:
        The columns of the table `focus` from `region` on.
    """
    masked = focus[focus["region"] == region]
    used = keep_explained(masked)
    row: dict[str, Any] = {"region": region, "seeds": used["seed"].nunique(), "images": used["image_id"].nunique()}
    row |= {"groups": used["group"].nunique(), "left_out": len(masked) - len(used)}
    if used.empty:
        return row | {"covers": "", "reason": NO_MASK if masked.empty else NO_ANSWER}
    (hits, chance, energy, area), drawn = _average(
        used[["hit", "chance", "energy", "area"]], used["seed"], used["group"]
    )
    groups = row["groups"]
    found = {
        "hits": estimate_score(hits, drawn[0], groups, rate=True),
        "energy": estimate_score(energy, drawn[2], groups),
        "gain": estimate_difference(hits - chance, drawn[0] - drawn[1], groups),
    }
    for name, estimate in found.items():
        row |= estimate.name_columns(name)
    gain = found["gain"]
    row |= {"chance": float(chance.mean()), "area": float(area.mean())}
    return row | {"covers": gain.covers, "reason": explain_scope(gain, row["seeds"])}


def _average(values: pd.DataFrame, seeds: pd.Series, groups: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Average K columns over images: float64, (K, S), and the same in each bootstrap draw of groups, (K, S, B)."""
    codes, names = pd.factorize(groups)
    rows = [(seeds == seed).to_numpy() for seed in sorted(seeds.unique())]
    columns = values.to_numpy(np.float64).T
    means = np.array([[column[chosen].mean() for chosen in rows] for column in columns])
    blocks = [
        [[mean_draws(column[chosen], codes[chosen], weights) for chosen in rows] for column in columns]
        for weights in draw_blocks(len(names))
    ]
    return means, np.concatenate(blocks, axis=2)
