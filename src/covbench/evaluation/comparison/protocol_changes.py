"""Compute what each step from the study's protocol to the audited one changes in each model's scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from covbench.evaluation.comparison.bootstrap import UNDRAWN
from covbench.evaluation.comparison.contestants import Contestant, estimate_gap
from covbench.evaluation.comparison.intervals import PATIENTS, STUCK, Estimate, explain_scope
from covbench.protocols import AUDITED, PUBLISHED, PUBLISHED_AUDITED_SPLIT

STEPS = {
    "split_change": (PUBLISHED, PUBLISHED_AUDITED_SPLIT),
    "recipe_change": (PUBLISHED_AUDITED_SPLIT, AUDITED),
    "change": (PUBLISHED, AUDITED),
}
"""Columns of the table `protocols`: the later protocol minus the earlier one."""


def compare_protocols(
    summary: Sequence[Mapping[str, Any]], contestants: Mapping[str, Mapping[str, Contestant]]
) -> Iterator[dict[str, Any]]:
    """Make the rows of `protocols` without task: each score of each model that two protocols or more share.

    Args:
        summary: rows of the table `summary` of one task.
        contestants: by protocol and architecture. All protocols share their bootstrap draws.

    Yields:
        A row per model and metric. A step without both protocols is empty. A metric without draws has no interval.
    """
    found = {tuple(row[key] for key in ("protocol", "architecture", "metric")): row for row in summary}
    chain = list(dict.fromkeys(name for step in STEPS.values() for name in step))
    for name in sorted({name for protocol in chain for name in contestants.get(protocol, {})}):
        sides = {protocol: contestants[protocol][name] for protocol in chain if name in contestants.get(protocol, {})}
        for metric in sorted({metric for side in sides.values() for metric in side.scores}):
            scored = {protocol: side for protocol, side in sides.items() if side.average(metric) is not None}
            if len(scored) < 2:
                continue
            family = next(iter(scored.values())).family
            row: dict[str, Any] = {"architecture": name, "family": family, "metric": metric}
            for protocol in chain:
                score = found.get((protocol, name, metric), {})
                row |= {f"{value}_{protocol}": score.get(value) for value in ("mean", "low", "high")}
            yield row | _take_steps(metric, scored)


def _take_steps(metric: str, scored: Mapping[str, Contestant]) -> dict[str, Any]:
    row: dict[str, Any] = {f"{step}{end}": None for step in STEPS for end in ("", "_low", "_high")}
    covers, reasons = set(), []
    for step, (before, after) in STEPS.items():
        if before not in scored or after not in scored:
            continue
        sides = (scored[after], scored[before])
        row[step] = float(sides[0].average(metric) or 0) - float(sides[1].average(metric) or 0)
        if not all(metric in side.draws for side in sides):
            reasons.append(UNDRAWN)
            continue
        gap = estimate_gap(*sides, metric)
        if any(side.is_perfect(metric) for side in sides):
            gap = Estimate(gap.value, gap.groups, reason=STUCK)
        covers.add(gap.covers)
        reasons.append(explain_scope(gap, min(len(side.list_defined(metric)) for side in sides)))
        if gap.covers:
            row |= {f"{step}_low": gap.low, f"{step}_high": gap.high}
    known = covers - {""}
    row["covers"] = PATIENTS if PATIENTS in known else next(iter(known), "")
    row["reason"] = "; ".join(dict.fromkeys(filter(None, reasons)))
    return row
