"""Compare the study's values with ours: whether a reported value can be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from covbench.evaluation.definitions import define_metric
from covbench.experiment.runs import MODEL_KEYS
from covbench.protocols import AUDITED, PUBLISHED
from covbench.schema import COMPARE_TABLES

CHANGE = ["change", "change_low", "change_high"]
MATCHES, DIFFERS, UNTESTABLE = VERDICTS = ("matches", "differs", "untestable")

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
"""Which of our metrics a reported one is compared with, and why. All others have the same name as ours."""


def judge(reported: float, ours: Mapping[str, Any]) -> tuple[str, str]:
    """Judge whether our interval under `published` holds a reported value. Returns one of VERDICTS and the reason.

    ours: a row of the summary; empty if no run has finished.
    """
    if not ours:
        return UNTESTABLE, f"no finished run under {PUBLISHED}"
    if pd.isna(ours["mean"]):
        return UNTESTABLE, "our metric is undefined on this test fold"
    if pd.isna(ours["low"]):
        return UNTESTABLE, "our value has no interval"
    if ours["low"] <= reported <= ours["high"]:
        return MATCHES, "inside our 95 % interval"
    return DIFFERS, f"{'above' if reported > ours['high'] else 'below'} our 95 % interval"


def set_beside(reported: pd.DataFrame, summary: pd.DataFrame, protocols: pd.DataFrame) -> pd.DataFrame:
    """Make the table `published`: the study's values beside ours, a row per reported value.

    Args:
        reported: as workflow/resources/published_results.csv.
        summary: the table of this name.
        protocols: the table of this name.

    Returns:
        Columns of schema.COMPARE_TABLES. `difference` is ours minus the reported value, `change` is ours under
        `audited` minus ours under `published`.
    """
    ours: dict[tuple, Any] = {
        tuple(row[key] for key in [*MODEL_KEYS, "metric"]): row for row in summary.to_dict("records")
    }
    changes = {(row["task"], row["architecture"], row["metric"]): row for row in protocols.to_dict("records")}
    rows = []
    for value in reported.fillna("").to_dict("records"):
        architecture = "_".join(filter(None, (value["architecture"], value["backbone"])))
        metric, note = OUR_METRICS.get((value["task"], value["metric"]), (value["metric"], ""))
        found = {
            protocol: ours.get((value["task"], protocol, architecture, metric), {}) for protocol in (PUBLISHED, AUDITED)
        }
        change = changes.get((value["task"], architecture, metric), {})
        verdict, why = judge(value["value"], found[PUBLISHED])
        row = {name: value[name] for name in ("task", "metric", "source")}
        row |= {"architecture": architecture, "our_metric": metric, "note": note, "reported": value["value"]}
        row["definition"] = define_metric(metric)
        row |= {name: change.get(name) for name in CHANGE} | {"verdict": verdict, "why": why}
        for protocol, score in found.items():
            row |= _beside(score, value["value"], protocol)
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COMPARE_TABLES["published"]))


def _beside(score: Mapping[str, Any], reported: float, protocol: str) -> dict[str, Any]:
    mean = score.get("mean")
    return {
        f"value_{protocol}": mean,
        f"low_{protocol}": score.get("low"),
        f"high_{protocol}": score.get("high"),
        f"difference_{protocol}": None if pd.isna(mean) else mean - reported,
    }
