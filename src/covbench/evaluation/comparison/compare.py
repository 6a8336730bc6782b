"""Make tidy tables of every run's scores, with intervals, ranks and tests, beside the study's values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.evaluation.comparison.bootstrap import UNDRAWN, Draws, draw_patients, find_interval, score_draws
from covbench.evaluation.comparison.model_pairs import Contestant, compare_model_pairs
from covbench.evaluation.comparison.replication import compare_protocols, set_beside
from covbench.experiment.plan import PlannedRun
from covbench.experiment.runs import (
    MODEL_KEYS,
    RunRecord,
    RunState,
    count_patients,
    describe_record,
    examine_runs,
    name_weights,
    require_planned,
)
from covbench.protocols import AUDITED, PROTOCOLS, PUBLISHED
from covbench.schema import COMPARE_TABLES

COMPUTED = ("metrics", "summary", "protocols", "pairs", "ranks", "resolution")
"""Tables of schema.COMPARE_TABLES that are computed task by task."""

Rows = dict[str, list[dict[str, Any]]]


def compare_runs(
    plan: Sequence[PlannedRun],
    reported: pd.DataFrame,
    literature: pd.DataFrame,
    root: Path = Path(),
    partial: bool = False,
) -> dict[str, pd.DataFrame]:
    """Make the tables of results/compare, all of schema.COMPARE_TABLES except `external`.

    Args:
        plan: as covbench.experiment.plan.plan_runs.
        reported: the study's values, as workflow/resources/published_results.csv.
        literature: as workflow/resources/literature.csv.
        root: the folder that holds data/ and results/.
        partial: leave stale runs out of the scores instead of refusing them.

    Returns:
        Each table by its name. `literature` is the given table, reduced to the planned tasks.

    Raises:
        CovbenchError: There are stale runs, and `partial` is false.
    """
    records = examine_runs(plan, root)
    if not partial:
        require_planned(records)
    rows: Rows = {name: [] for name in COMPUTED}
    scored = sorted((run for run in records if run.state is RunState.SCORED), key=_task)
    for _, runs in groupby(scored, key=_task):
        for name, found in _compare_task(list(runs)).items():
            rows[name] += found
    rows["runs"] = [describe_record(record) for record in records]
    tables = {name: pd.DataFrame(rows[name], columns=list(COMPARE_TABLES[name])) for name in rows}
    planned = {entry.run.task for entry in plan}
    reported, literature = (table[table["task"].isin(planned)] for table in (reported, literature))
    tables["published"] = set_beside(reported, tables["summary"], tables["protocols"])
    tables["literature"] = literature
    return tables


def nest_scores(ranks: pd.DataFrame) -> dict[str, Any]:
    """Nest the table `ranks`: task -> protocol -> model -> metric -> mean over seeds. Undefined means are left out."""
    nested: dict[str, Any] = {}
    for row in ranks.dropna(subset=["score"]).to_dict("records"):
        model = nested.setdefault(row["task"], {}).setdefault(row["protocol"], {}).setdefault(row["architecture"], {})
        model[row["metric"]] = row["score"]
    return nested


def _task(record: RunRecord) -> str:
    return record.task


def _model(record: RunRecord) -> tuple[str, str, str]:
    return record.protocol, record.architecture, record.family


def _compare_task(runs: list[RunRecord]) -> Rows:
    """Make the rows of COMPUTED for all runs of one task. They share their bootstrap draws across protocols and seeds.

    A patient in several test folds is drawn for all of them at once, so differences between models, seeds and protocols
    are paired as far as possible.
    """
    rows: Rows = {name: [] for name in COMPUTED}
    patients = pd.Index(sorted({patient for scored in runs for patient in scored.cases["patient_id"]}))
    weights = draw_patients(len(patients))
    contestants: dict[str, dict[str, Contestant]] = {protocol: {} for protocol in PROTOCOLS}
    for (protocol, architecture, family), group in groupby(sorted(runs, key=_model), key=_model):
        seeds = list(group)
        draws = [score_draws(scored.metrics, scored.cases, patients, weights) for scored in seeds]
        for scored, drawn in zip(seeds, draws, strict=True):
            rows["metrics"] += _tabulate(scored, drawn)
        summary, averaged = _average_seeds(seeds, draws)
        model = {"protocol": protocol, "architecture": architecture, "family": family}
        rows["summary"] += [{**model, **row, "weights": name_weights(seeds)} for row in summary]
        scores = {row["metric"]: row["mean"] for row in summary}
        contestants[protocol][architecture] = Contestant(
            architecture, family, {scored.seed: scored for scored in seeds}, scores, averaged
        )
    for protocol, entered in contestants.items():
        found = compare_model_pairs(list(entered.values()), patients) if entered else {}
        for name, several in found.items():
            rows[name] += [{"protocol": protocol} | row for row in several]
    rows["protocols"] = list(compare_protocols(rows["summary"], contestants[PUBLISHED], contestants[AUDITED]))
    return {name: [{"task": runs[0].task} | row for row in several] for name, several in rows.items()}


def _tabulate(scored: RunRecord, draws: Draws) -> Iterable[dict[str, Any]]:
    metrics = scored.metrics
    keys = {key: getattr(scored, key) for key in [*MODEL_KEYS, "family", "seed"]}
    for name, scores in {"": metrics["metrics"], **metrics["per_class"]}.items():
        for metric, value in scores.items():
            key = f"per_class.{name}.{metric}" if name else metric
            low, high, reason = None, None, metrics["undefined"].get(key, "")
            if value is not None and (name, metric) in draws:
                low, high, reason = find_interval(draws[name, metric], metrics["patients"])
            elif value is not None and not name:
                reason = UNDRAWN
            yield {**keys, "class": name, "metric": metric, "value": value, "low": low, "high": high, "reason": reason}


def _average_seeds(group: list[RunRecord], draws: list[Draws]) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Average each metric over the seeds for which it is defined: mean, standard deviation, interval and draws.

    In each draw of patients, the metric is computed for every seed and averaged over the seeds. The interval therefore
    covers the choice of patients only.
    """
    rows, averaged = [], {}
    for metric in group[0].metrics["metrics"]:
        found = [(s.metrics["metrics"].get(metric), d) for s, d in zip(group, draws, strict=True)]
        values = [value for value, _ in found if value is not None]
        row: dict[str, Any] = {"metric": metric, "seeds": len(values)} | dict.fromkeys(("mean", "sd", "low", "high"))
        if values and all(("", metric) in drawn for _, drawn in found):
            averaged[metric] = np.mean([drawn["", metric] for value, drawn in found if value is not None], axis=0)
            row["low"], row["high"], _ = find_interval(averaged[metric], count_patients(group))
        if values:
            row["mean"] = float(np.mean(values))
            row["sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        rows.append(row)
    return rows, averaged
