"""Make tidy tables of every run's scores, with intervals, ranks and tests, beside the study's values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.evaluation.comparison.bootstrap import UNDRAWN, Draws, list_groups, score_runs
from covbench.evaluation.comparison.calibration import tabulate_calibration
from covbench.evaluation.comparison.contestants import Contestant, enter_contestant, estimate_contestant
from covbench.evaluation.comparison.duplicate_images import compare_without_duplicates
from covbench.evaluation.comparison.evidence import count_evidence, is_rate, is_share
from covbench.evaluation.comparison.intervals import Estimate, estimate_score, explain_scope
from covbench.evaluation.comparison.model_pairs import compare_model_pairs
from covbench.evaluation.comparison.operating_points import tabulate_operating_points
from covbench.evaluation.comparison.protocol_changes import compare_protocols
from covbench.evaluation.comparison.reader_agreement import compare_readers
from covbench.evaluation.comparison.replication import set_beside
from covbench.evaluation.comparison.subgroups import compare_subgroups
from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.evaluation.comparison.validation import draw_shared, read_validation
from covbench.experiment.plan import PlannedRun, index_path
from covbench.experiment.runs import (
    MODEL_KEYS,
    RunRecord,
    RunState,
    describe_record,
    examine_runs,
    name_weights,
    require_planned,
)
from covbench.schema import CLASSIFICATION

COMPUTED = (
    *("metrics", "summary", "subgroups", "subgroup_gaps", "protocols", "pairs", "ranks", "resolution", "agreement"),
    *("operating_points", "calibration"),
)
"""Tables of comparison.tables.COMPARE_TABLES that are computed task by task."""

Rows = dict[str, list[dict[str, Any]]]


def compare_runs(
    plan: Sequence[PlannedRun],
    reported: pd.DataFrame,
    literature: pd.DataFrame,
    root: Path = Path(),
    partial: bool = False,
) -> dict[str, pd.DataFrame]:
    """Make the tables of results/compare, all of comparison.tables.COMPARE_TABLES except `external` and `findings`.

    Args:
        plan: as covbench.experiment.plan.plan_runs.
        reported: the study's values with their counterparts, from counterparts.read_counterparts.
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
    for task, runs in groupby(scored, key=_task):
        for name, found in compare_task(list(runs), _read_index(root, task)).items():
            rows[name] += found
    rows["runs"] = [describe_record(record) for record in records]
    tables = {name: pd.DataFrame(rows[name], columns=list(COMPARE_TABLES[name])) for name in rows}
    planned = {entry.run.task for entry in plan}
    reported, literature = (table[table["task"].isin(planned)] for table in (reported, literature))
    tables["published"] = set_beside(reported, tables["summary"], tables["protocols"], tables["runs"])
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


def _read_index(root: Path, task: str) -> pd.DataFrame:
    """Read the index of a task's dataset. A part of the results may lie here without it: no image is then known."""
    path = root / index_path(task)
    return pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=["image_id"])


def compare_task(runs: list[RunRecord], index: pd.DataFrame) -> Rows:
    """Make the rows of COMPUTED for all runs of one task. They share their bootstrap draws across protocols and seeds.

    A group in several test folds is drawn for all of them at once, so differences between models, seeds and protocols
    are paired as far as possible. index: schema.INDEX_COLUMNS of the task's dataset, for its facts.
    """
    rows: Rows = {name: [] for name in COMPUTED}
    runs = sorted(runs, key=lambda run: (*_model(run), run.seed))
    drawn = score_runs([(run.metrics, run.cases) for run in runs], list_groups(run.cases for run in runs))
    contestants: dict[str, dict[str, Contestant]] = {}
    for (protocol, architecture, family), several in groupby(runs, key=_model):
        seeds = list(several)
        draws, drawn = drawn[: len(seeds)], drawn[len(seeds) :]
        for scored, scores in zip(seeds, draws, strict=True):
            rows["metrics"] += _tabulate(scored, scores)
        entered = enter_contestant(seeds, draws)
        contestants.setdefault(protocol, {})[architecture] = entered
        keys = {"protocol": protocol, "architecture": architecture, "family": family}
        rows["summary"] += [keys | row | {"weights": name_weights(seeds)} for row in summarize(entered)]
        for name, found in compare_subgroups(entered, index).items():
            rows[name] += [keys | row for row in found]
    for protocol, entries in contestants.items():
        for name, found in compare_model_pairs(list(entries.values())).items():
            rows[name] += [{"protocol": protocol} | row for row in found]
    rows["protocols"] = list(compare_protocols(rows["summary"], contestants))
    rows["agreement"] = list(compare_readers(runs))
    if runs[0].metrics["kind"] == CLASSIFICATION:
        rows |= choose_on_validation(runs)
    return {name: [{"task": runs[0].task} | row for row in found] for name, found in rows.items()}


def choose_on_validation(runs: Sequence[RunRecord]) -> Rows:
    """Make the rows that rest on the validation folds of a classification's runs, which are ordered by model."""
    validated = [read_validation(run) for run in runs]
    shared = draw_shared(validated)
    two_classes = validated[0].positive is not None
    points = tabulate_operating_points(validated, shared) if two_classes else ()
    return {"operating_points": list(points), "calibration": list(tabulate_calibration(validated, shared))}


def _tabulate(scored: RunRecord, draws: Draws) -> Iterable[dict[str, Any]]:
    metrics, evidence = scored.metrics, count_evidence(scored.metrics, scored.cases)
    keys = {key: getattr(scored, key) for key in [*MODEL_KEYS, "family", "seed"]}
    for name, scores in {"": metrics["metrics"], **metrics["per_class"]}.items():
        for metric, value in scores.items():
            row = {**keys, "class": name, "metric": metric, "value": value}
            key = f"per_class.{name}.{metric}" if name else metric
            row["reason"] = metrics["undefined"].get(key, "")
            if value is not None and (name, metric) in draws:
                drawn, groups = draws[name, metric][None], evidence[name, metric]
                rate, share = (ask(metrics["kind"], metric, bool(name)) for ask in (is_rate, is_share))
                row |= _bound(estimate_score(np.array([value]), drawn, groups, rate, share))
            elif value is not None and not name:
                row["reason"] = UNDRAWN
            yield row


def _bound(found: Estimate) -> dict[str, Any]:
    return {"low": found.low, "high": found.high, "reason": found.reason}


def summarize(contestant: Contestant) -> Iterator[dict[str, Any]]:
    """Make the rows of `summary` of one model under one protocol, without the columns of these."""
    without = compare_without_duplicates(contestant)
    for metric, values in contestant.scores.items():
        seeds = contestant.list_defined(metric)
        known = values[~np.isnan(values)]
        row: dict[str, Any] = {"metric": metric, "seeds": len(seeds), "groups": contestant.groups[metric]}
        row["values"] = " ".join(f"{value:.3f}" for value in known)
        row["mean"] = contestant.average(metric)
        row["sd"] = float(np.std(known, ddof=1)) if len(known) > 1 else None
        row["covers"] = ""
        if seeds and metric in contestant.draws:
            found = estimate_contestant(contestant, metric)
            row |= {
                name: getattr(found, name) for name in ("low", "high", "covers", "se", "df", "run_se", "training_sd")
            }
            row["reason"] = explain_scope(found, len(seeds))
        else:
            row["reason"] = UNDRAWN if seeds else "undefined in every seed"
        yield row | without.get(metric, {})
