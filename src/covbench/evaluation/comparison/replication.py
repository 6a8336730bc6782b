"""Set the study's values beside ours, with a verdict on each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from covbench.evaluation.comparison.counterparts import join_names
from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.evaluation.comparison.verdicts import Reported, judge
from covbench.evaluation.definitions import define_metric
from covbench.experiment.runs import MODEL_KEYS
from covbench.protocols import AUDITED, PUBLISHED, PUBLISHED_AUDITED_SPLIT

CHANGE = ["change", "change_low", "change_high"]
COPIED = ["task", "metric", "source", "our_metric", "class", "averaging", "test_images", "images", "note"]
"""Columns of the table `published` that describe a value of the study."""

Row = Mapping[Any, Any]
Scores = Mapping[tuple, Row]


def set_beside(
    reported: pd.DataFrame, summary: pd.DataFrame, protocols: pd.DataFrame, runs: pd.DataFrame
) -> pd.DataFrame:
    """Make the table `published`: the study's values beside ours, a row per reported value.

    Args:
        reported: the study's values with their counterparts, from counterparts.read_counterparts.
        summary: the table of this name.
        protocols: the table of this name.
        runs: the table of this name.

    Returns:
        Columns of comparison.tables.COMPARE_TABLES. `difference` is ours under `published` minus the reported value,
        `change` is ours under `audited` minus ours under `published`.
    """
    scores: Scores = {tuple(row[key] for key in [*MODEL_KEYS, "metric"]): row for row in summary.to_dict("records")}
    changes = {(row["task"], row["architecture"], row["metric"]): row for row in protocols.to_dict("records")}
    images = runs[runs["protocol"] == PUBLISHED].groupby(["task", "architecture"])["images"].mean().to_dict()
    rows = []
    for value in reported.to_dict("records"):
        change = changes.get((value["task"], value["network"], value["our_metric"]), {})
        row = _compare_value(value, scores, images.get((value["task"], value["network"]), 0.0))
        rows.append(row | {name: change.get(name) for name in CHANGE})
    return pd.DataFrame(rows, columns=list(COMPARE_TABLES["published"]))


def _compare_value(value: Row, scores: Scores, images: float) -> dict[str, Any]:
    """Set one value beside ours. images: in our test fold under `published`, mean over seeds."""
    task, network, metric = value["task"], value["network"], value["our_metric"]
    row = {name: value[name] for name in COPIED} | {"reported": value["value"], "definition": define_metric(metric)}
    row |= {"architecture": network, "study_model": join_names(value["architecture"], value["backbone"])}
    for protocol in (PUBLISHED, PUBLISHED_AUDITED_SPLIT, AUDITED):
        score = scores.get((task, protocol, network, metric), {})
        row |= {f"value_{protocol}": score.get("mean")} | {
            f"{end}_{protocol}": score.get(end) for end in ("low", "high")
        }
    row["empty_mask"] = scores.get((task, PUBLISHED, network, f"{metric}_empty"), {}).get("mean")
    theirs = Reported(value["value"], value["step"], value["test_images"])
    verdict = judge(theirs, scores.get((task, PUBLISHED, network, metric), {}), images, value["untestable"])
    row |= {"difference": verdict.difference, "difference_low": verdict.low, "difference_high": verdict.high}
    return row | {"verdict": verdict.name, "why": verdict.why}
