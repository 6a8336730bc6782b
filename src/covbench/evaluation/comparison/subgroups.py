"""Score each model in subgroups of its test images, and measure how far the best and the worst of them are apart.

Subgroups follow from facts that are known before any model answers: columns of the index, and the size of the true
lesion. A gap is that of two subgroups that were chosen by their scores. Its interval therefore holds for all pairs of
subgroups at once: each pair has the level .05 / pairs (Dunn 1961, J. Am. Stat. Assoc. 56:52).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np
import pandas as pd

from covbench.evaluation.comparison.bootstrap import list_groups, score_draws, score_runs
from covbench.evaluation.comparison.contestants import WHOLE, Contestant, estimate_contestant, estimate_gap
from covbench.evaluation.comparison.evidence import count_evidence
from covbench.evaluation.comparison.intervals import SIGNIFICANT, STUCK, Estimate, explain_scope
from covbench.evaluation.metrics.segmentation import LESION
from covbench.experiment.runs import RunRecord
from covbench.schema import CLASSIFICATION, SEGMENTATION
from covbench.system.listings import join_first

FEWEST = 20
"""Groups of images that a subgroup needs to be scored."""
FACTS = ("sex", "age_band", "view", "source")
"""Columns of the index that make subgroups."""
LESION_SIZE = "lesion_size"
SIZES = {"below 1 %": 0.0, "1 to 4 %": 0.01, "4 % and above": 0.04}
"""Size of a lesion -> the share of the image from which on it has this size. Fixed, so that all models share it."""
UNKNOWN, OTHERS = "unknown", "others"
SCORED = {
    CLASSIFICATION: ("auroc", "balanced_accuracy", "sensitivity", "specificity"),
    SEGMENTATION: ("dice_lesion",),
}
"""By kind of task, the metrics that are scored in subgroups. A larger value is the better one."""
LACKING = {
    CLASSIFICATION: "undefined: the subgroup has no image of a class that it needs",
    SEGMENTATION: "undefined: the subgroup has no image with a lesion",
}


@dataclass(frozen=True)
class Subgroup:
    """Some test images of a model. cases: by seed, the rows of cases.parquet, at least one."""

    name: str
    cases: Mapping[int, pd.DataFrame]

    def count(self, column: str) -> int:
        """Count the different values of a column of its cases, all seeds together."""
        return len(set().union(*(cases[column] for cases in self.cases.values())))


def compare_subgroups(contestant: Contestant, index: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Make the rows of `subgroups` and `subgroup_gaps` of one model under one protocol, without the columns of these.

    Args:
        contestant: the model.
        index: schema.INDEX_COLUMNS of the task's dataset. A fact that it does not hold makes no subgroups.

    Returns:
        The rows by table. A fact with one value for all images has none.
    """
    rows: dict[str, list[dict[str, Any]]] = {"subgroups": [], "subgroup_gaps": []}
    for fact, subgroups in divide_cases(contestant, index).items():
        large = [subgroup for subgroup in subgroups if subgroup.count("group") >= FEWEST]
        entered = dict(zip((subgroup.name for subgroup in large), enter_subgroups(contestant, large), strict=True))
        found = [row for subgroup in large for row in _tabulate(subgroup, entered[subgroup.name])]
        found += _tabulate_small([subgroup for subgroup in subgroups if subgroup not in large])
        rows["subgroups"] += [{"fact": fact, **row} for row in found]
        known = {name: subgroup for name, subgroup in entered.items() if name != UNKNOWN}
        rows["subgroup_gaps"] += [{"fact": fact, **row} for row in find_gaps(known)]
    return rows


def divide_cases(contestant: Contestant, index: pd.DataFrame) -> dict[str, list[Subgroup]]:
    """Divide a model's test images by each fact that differs between them. Unknown values are a subgroup of their own.

    Args:
        contestant: the model.
        index: as in compare_subgroups.

    Returns:
        By fact, the subgroups in alphabetical order, lesion sizes in ascending order.
    """
    facts = {seed: read_facts(run, index) for seed, run in contestant.runs.items()}
    divided: dict[str, list[Subgroup]] = {}
    for fact in map(str, next(iter(facts.values()))):
        names = {name for table in facts.values() for name in table[fact].dropna()}
        ordered = [name for name in SIZES if name in names] or sorted(names)
        if len(ordered) > 1:
            chosen = {name: {seed: table[fact] == name for seed, table in facts.items()} for name in ordered}
            divided[fact] = [Subgroup(name, _select(contestant, rows)) for name, rows in chosen.items()]
    return divided


def _select(contestant: Contestant, rows: Mapping[int, pd.Series]) -> dict[int, pd.DataFrame]:
    cases = {seed: contestant.runs[seed].cases[chosen.to_numpy()] for seed, chosen in rows.items() if chosen.any()}
    return {seed: table.reset_index(drop=True) for seed, table in cases.items()}


def read_facts(run: RunRecord, index: pd.DataFrame) -> pd.DataFrame:
    """Read the facts of a run's test images: a column per fact, `unknown` where the index knows nothing.

    The size of a lesion is empty where the true mask holds none.
    """
    named = run.cases[["image_id"]].merge(index, how="left", on="image_id")
    facts = named[[fact for fact in FACTS if fact in index]].fillna("").replace("", UNKNOWN)
    if run.metrics["kind"] == SEGMENTATION:
        pixels = run.cases[[f"true_{name}" for name in run.metrics["classes"]]].sum(axis=1)
        share = (run.cases[f"true_{LESION}"] / pixels).to_numpy()
        size = np.array([*SIZES])[np.searchsorted([*SIZES.values()], share, side="right") - 1]
        facts[LESION_SIZE] = pd.Series(size, dtype="str").where(share > 0)
    return facts


def enter_subgroups(contestant: Contestant, subgroups: Sequence[Subgroup]) -> list[Contestant]:
    """Score a model on some subgroups as if each were its test fold. All of them share their bootstrap draws.

    Args:
        contestant: the model.
        subgroups: of its test images.

    Returns:
        The model on each subgroup, with the seeds that test an image of it.
    """
    groups = list_groups(run.cases for run in contestant.runs.values())
    parts = [(contestant.runs[seed].metrics, cases) for subgroup in subgroups for seed, cases in subgroup.cases.items()]
    drawn = score_runs(parts, groups)
    once = [score_draws(*part, own := list_groups(part[1:]), np.ones((len(own), 1))) for part in parts]
    entered = []
    for subgroup in subgroups:
        values, draws = once[: len(subgroup.cases)], drawn[: len(subgroup.cases)]
        once, drawn = once[len(subgroup.cases) :], drawn[len(subgroup.cases) :]
        metrics = [name for name in SCORED[contestant.kind] if name in contestant.draws]
        runs = {seed: contestant.runs[seed] for seed in subgroup.cases}
        evidence = count_evidence(next(iter(runs.values())).metrics, pd.concat(subgroup.cases.values()))
        entered.append(
            replace(
                contestant,
                runs=runs,
                scores={name: np.array([found[WHOLE, name][0] for found in values]) for name in metrics},
                draws={name: np.stack([found[WHOLE, name] for found in draws]) for name in metrics},
                groups={name: evidence[WHOLE, name] for name in metrics},
            )
        )
    return entered


def _tabulate(subgroup: Subgroup, entered: Contestant) -> Iterator[dict[str, Any]]:
    for metric in entered.scores:
        seeds = entered.list_defined(metric)
        row: dict[str, Any] = {"subgroup": subgroup.name, "metric": metric, "seeds": len(seeds), **_measure(subgroup)}
        if seeds:
            found = estimate_contestant(entered, metric)
            row |= {"mean": found.value, "low": found.low, "high": found.high, "covers": found.covers}
            yield row | {"reason": explain_scope(found, len(seeds))}
        else:
            undefined = next(iter(entered.runs.values())).metrics["undefined"]
            yield row | {"covers": "", "reason": undefined.get(metric, LACKING[entered.kind])}


def _measure(subgroup: Subgroup) -> dict[str, int]:
    return {"images": subgroup.count("image_id"), "groups": subgroup.count("group")}


def _tabulate_small(small: Sequence[Subgroup]) -> Iterator[dict[str, Any]]:
    """Make one row of all subgroups with too few groups."""
    if small:
        seeds = {seed for subgroup in small for seed in subgroup.cases}
        cases = {seed: pd.concat([each.cases[seed] for each in small if seed in each.cases]) for seed in seeds}
        names = join_first([subgroup.name for subgroup in small])
        reason = f"fewer than {FEWEST} groups of images: {names}"
        yield {"subgroup": OTHERS, "metric": "", "seeds": 0, **_measure(Subgroup(OTHERS, cases)), "reason": reason}


def find_gaps(subgroups: Mapping[str, Contestant]) -> Iterator[dict[str, Any]]:
    """Find the best and the worst subgroup by each metric, and how far apart they are.

    subgroups: a model on each subgroup of a fact, by its name. There is no row for a metric that fewer than two define.
    """
    for metric in next(iter(subgroups.values())).scores if subgroups else ():
        means = {name: mean for name, each in subgroups.items() if (mean := each.average(metric)) is not None}
        if len(means) > 1:
            worst, *_, best = sorted(means, key=lambda name: means[name])
            yield {"metric": metric, "subgroups": len(means), "best": best, "worst": worst} | _estimate_gap(
                subgroups[best], subgroups[worst], metric, comb(len(means), 2)
            )


def _estimate_gap(best: Contestant, worst: Contestant, metric: str, pairs: int) -> dict[str, Any]:
    gap = estimate_gap(best, worst, metric)
    if any(side.is_perfect(metric) for side in (best, worst)):
        gap = Estimate(gap.value, gap.groups, reason=STUCK)
    reach = gap.error.reach(SIGNIFICANT / pairs) if gap.error else np.nan
    seeds = min(len(side.list_defined(metric)) for side in (best, worst))
    row = {"gap": gap.value, "low": gap.value - reach, "high": gap.value + reach}
    return row | {"covers": gap.covers if gap.error else "", "reason": explain_scope(gap, seeds)}
