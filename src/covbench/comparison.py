"""Every run's scores in tidy tables, with 95 % intervals, beside the values that the study reported."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covbench.intervals import Draws, draw_patients, find_interval, score_draws
from covbench.manifest import find_differences, list_differences
from covbench.protocols import PROTOCOLS
from covbench.schema import CovbenchError, Run

log = logging.getLogger(__name__)

KEYS = ["task", "protocol", "architecture"]
METRIC_COLUMNS = [*KEYS, "family", "seed", "class", "metric", "value", "low", "high", "reason"]
SUMMARY_COLUMNS = [*KEYS, "family", "metric", "seeds", "mean", "sd", "low", "high"]
PUBLISHED_COLUMNS = [
    *["task", "architecture", "metric", "reported", "source", "our_metric"],
    *[f"{name}_{protocol}" for protocol in PROTOCOLS for name in ("value", "low", "high", "difference")],
    "note",
]
FACTS = ["seconds", "parameters", "epochs_run", "best_epoch", "peak_memory_mb"]
FACTS += ["device", "weights", "fingerprint", "git_commit", "finished"]
RUN_COLUMNS = [*KEYS, "family", "seed", "state", "reason", *FACTS, "images", "patients"]
RUN_FILES = ("metrics.json", "cases.parquet", "manifest.json")

_SWAPPED = (
    "the study's precision and recall are taken as exchanged: its constant answer (efficientnetb0) has precision 1 and "
    "recall equal to accuracy"
)
_MACRO = "the study does not name its average; its recall differs from accuracy, so it is not the weighted one"
_POOLED = "the study's F1 and Jaccard index fit one class with pooled pixels"
_ALL_CLASSES = "the study does not say which classes it averages; its library's default is all, background too"
OUR_METRICS = {
    ("ieee8023_xray", "precision"): ("precision_macro", _MACRO),
    ("ieee8023_xray", "recall"): ("recall_macro", _MACRO),
    ("ieee8023_xray", "f1"): ("f1_macro", _MACRO),
    ("radiography", "precision"): ("precision_macro", _MACRO),
    ("radiography", "recall"): ("recall_macro", _MACRO),
    ("radiography", "f1"): ("f1_macro", _MACRO),
    ("covid_ct", "precision"): ("sensitivity", _SWAPPED),
    ("covid_ct", "recall"): ("precision", _SWAPPED),
    ("sarscov2_ct", "precision"): ("sensitivity", _SWAPPED),
    ("sarscov2_ct", "recall"): ("precision", _SWAPPED),
    ("zenodo_infection", "f1"): ("dice_lesion_total", _POOLED),
    ("zenodo_infection", "jaccard"): ("jaccard_lesion_total", _POOLED),
    ("zenodo_multiclass", "f1"): ("dice_all_total", _ALL_CLASSES),
    ("zenodo_multiclass", "jaccard"): ("jaccard_all_total", _ALL_CLASSES),
    ("medseg_multiclass", "f1"): ("dice_all_total", _ALL_CLASSES),
    ("medseg_multiclass", "jaccard"): ("jaccard_all_total", _ALL_CLASSES),
}
"""Which of our metrics a reported one is compared with, and why; the rest go by their own name."""


@dataclass(frozen=True)
class Scored:
    """A planned run and what its folder holds: metrics.json, cases.parquet, manifest.json; empty unless `done`."""

    run: Run
    family: str
    state: str
    reason: str = ""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    cases: pd.DataFrame = field(default_factory=pd.DataFrame)
    manifest: Mapping[str, Any] = field(default_factory=dict)


def compare_runs(
    plan: Sequence[Mapping[str, Any]], reported: pd.DataFrame, root: Path = Path(), partial: bool = False
) -> dict[str, pd.DataFrame]:
    """The tables of results/compare: `metrics`, `summary`, `published`, `runs` (see the …_COLUMNS above).

    plan: as covbench.plan.describe_plan. reported: task, kind, architecture, backbone, metric, value, source. root: the
    folder that holds data/ and results/. A run without its files has the state `missing`. Raises CovbenchError for runs
    whose inputs are not the planned ones; `partial` gives them the state `stale` instead, and no scores.
    """
    scored = read_runs(plan, root)
    if not partial:
        require_planned(scored)
    metrics, summary = [], []
    done = sorted((run for run in scored if run.state == "done"), key=_cell)
    for _, runs in groupby(done, key=_cell):
        rows, means = _compare_cell(list(runs))
        metrics += rows
        summary += means
    tables = {
        "metrics": pd.DataFrame(metrics, columns=METRIC_COLUMNS),
        "summary": pd.DataFrame(summary, columns=SUMMARY_COLUMNS),
        "runs": pd.DataFrame([_describe(s) for s in scored], columns=RUN_COLUMNS),
    }
    planned = {entry["task"] for entry in plan}
    tables["published"] = set_beside(reported[reported["task"].isin(planned)], tables["summary"])
    return tables


def read_runs(plan: Sequence[Mapping[str, Any]], root: Path) -> list[Scored]:
    """Every planned run with what its folder holds, and its state: done, missing, failed or stale."""
    return [_read_run(entry, root) for entry in plan]


def require_planned(scored: Iterable[Scored]) -> None:
    """Raise CovbenchError naming the runs whose inputs are not the planned ones."""
    stale = [f"{run.run.folder}: {run.reason}" for run in scored if run.state == "stale"]
    if stale:
        shown = "\n  ".join(stale[:10] + ["…"] * (len(stale) > 10))
        raise CovbenchError(f"runs that are not the ones now planned; delete their folders and run again:\n  {shown}")


def _read_run(entry: Mapping[str, Any], root: Path) -> Scored:
    run = Run(entry["task"], entry["protocol"], entry["architecture"], int(entry["seed"]))
    folder = root / run.folder
    absent = [name for name in RUN_FILES if not (folder / name).exists()]
    if absent:
        return Scored(run, entry["family"], "missing", f"no {', '.join(absent)}")
    try:
        metrics, manifest = (json.loads((folder / name).read_text(encoding="utf-8")) for name in RUN_FILES[::2])
        cases = pd.read_parquet(folder / "cases.parquet")
    except (ValueError, OSError) as error:
        log.warning("%s cannot be read: %s", folder, error)
        return Scored(run, entry["family"], "failed", f"cannot be read: {error}")
    if differences := find_differences(entry, manifest, root):
        return Scored(run, entry["family"], "stale", list_differences(differences))
    return Scored(run, entry["family"], "done", "", metrics, cases, manifest)


def _cell(scored: Scored) -> tuple[str, str]:
    return scored.run.task, scored.run.protocol


def _compare_cell(runs: list[Scored]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of `metrics` and of `summary` for the runs of one task and protocol, which share their draws of patients."""
    patients = pd.Index(sorted({patient for scored in runs for patient in scored.cases["patient_id"]}))
    weights = draw_patients(len(patients))
    metrics, summary = [], []
    runs = sorted(runs, key=_model)
    for model, seeds in groupby(runs, key=_model):
        group = list(seeds)
        draws = [score_draws(scored.metrics, scored.cases, patients, weights) for scored in group]
        for scored, drawn in zip(group, draws, strict=True):
            metrics += list(_tabulate(scored, drawn))
        keys = {**dict(zip(KEYS, (*_cell(group[0]), model[0]), strict=True)), "family": model[1]}
        summary += [{**keys, **row} for row in _average_seeds(group, draws)]
    return metrics, summary


def _model(scored: Scored) -> tuple[str, str]:
    return scored.run.architecture, scored.family


def _tabulate(scored: Scored, draws: Draws) -> Iterable[dict[str, Any]]:
    metrics, run = scored.metrics, scored.run
    keys = {**{key: getattr(run, key) for key in KEYS}, "family": scored.family, "seed": run.seed}
    for name, scores in {"": metrics["metrics"], **metrics["per_class"]}.items():
        for metric, value in scores.items():
            place = f"per_class.{name}.{metric}" if name else metric
            low, high, reason = None, None, metrics["undefined"].get(place, "")
            if value is not None and (name, metric) in draws:
                low, high, reason = find_interval(draws[name, metric], metrics["patients"])
            yield {**keys, "class": name, "metric": metric, "value": value, "low": low, "high": high, "reason": reason}


def _average_seeds(group: list[Scored], draws: list[Draws]) -> Iterable[dict[str, Any]]:
    """Mean and standard deviation over the seeds for which a metric is defined, and the interval of that mean.

    In each draw of patients the metric is taken for every seed and averaged over seeds: the interval holds what comes
    of the choice of patients, and a patient in the test folds of several seeds is drawn for all of them.
    """
    for metric in group[0].metrics["metrics"]:
        found = [(s.metrics["metrics"].get(metric), d) for s, d in zip(group, draws, strict=True)]
        values = [value for value, _ in found if value is not None]
        row: dict[str, Any] = {
            "metric": metric,
            "seeds": len(values),
            "mean": None,
            "sd": None,
            "low": None,
            "high": None,
        }
        if values:
            averaged = np.mean([drawn["", metric] for value, drawn in found if value is not None], axis=0)
            patients = max(scored.metrics["patients"] for scored in group)
            row["low"], row["high"], _ = find_interval(averaged, patients)
            row["mean"] = float(np.mean(values))
            row["sd"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
        yield row


def _describe(scored: Scored) -> dict[str, Any]:
    run, metrics, manifest = scored.run, scored.metrics, scored.manifest
    return {
        **{key: getattr(run, key) for key in [*KEYS, "seed"]},
        "family": scored.family,
        "state": scored.state,
        "reason": scored.reason,
        **{fact: manifest.get(fact) for fact in FACTS},
        **{count: metrics.get(count) for count in ("images", "patients")},
    }


def set_beside(reported: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """The study's values beside ours, a row per reported value; `difference` is ours minus the reported one.

    reported: as workflow/resources/published_results.csv. summary: SUMMARY_COLUMNS.
    """
    ours = {tuple(row[key] for key in [*KEYS, "metric"]): row for row in summary.to_dict("records")}
    rows = []
    for value in reported.fillna("").to_dict("records"):
        architecture = "_".join(filter(None, (value["architecture"], value["backbone"])))
        metric, note = OUR_METRICS.get((value["task"], value["metric"]), (value["metric"], ""))
        row: dict[str, Any] = {
            "task": value["task"],
            "architecture": architecture,
            "metric": value["metric"],
            "our_metric": metric,
        }
        row |= {"reported": value["value"], "source": value["source"], "note": note}
        for protocol in PROTOCOLS:
            found = ours.get((value["task"], protocol, architecture, metric), {})
            mean = found.get("mean")
            row |= {
                f"value_{protocol}": mean,
                f"low_{protocol}": found.get("low"),
                f"high_{protocol}": found.get("high"),
            }
            row[f"difference_{protocol}"] = None if pd.isna(mean) else mean - value["value"]
        rows.append(row)
    return pd.DataFrame(rows, columns=PUBLISHED_COLUMNS)
