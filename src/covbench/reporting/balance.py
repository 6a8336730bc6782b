"""Says where accuracy misleads, because most test images belong to one class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from covbench.reporting.tables import order_protocols
from covbench.reporting.wording import join_words, name_protocol, show, show_interval

MISLEADING = 0.6
"""Accuracy is shown with balanced accuracy if a class holds more than this share of the test images."""
ACCURACY, BALANCED = "accuracy", "balanced_accuracy"


@dataclass(frozen=True)
class Majority:
    """The class that holds most test images, its share of them, and the number of classes."""

    name: str
    share: float
    classes: int


def find_majorities(metrics: pd.DataFrame) -> dict[str, Majority]:
    """Find the class that holds most test images, where it holds more than MISLEADING.

    metrics: rows of one task, as results/compare/metrics.csv.

    Returns protocol -> that class with its share over all seeds, in the order of the report.
    """
    images = metrics[(metrics["metric"] == "support") & (metrics["class"] != "")]
    found = {}
    for protocol in order_protocols(images["protocol"]):
        counts = images[images["protocol"] == protocol].groupby("class", sort=False)["value"].sum()
        share = counts.max() / counts.sum()
        if share > MISLEADING:
            found[protocol] = Majority(str(counts.idxmax()), float(share), len(counts))
    return found


def accompany(metric: str, majorities: Mapping[str, Majority]) -> list[str]:
    """List a metric and, where it is an accuracy that misleads, balanced accuracy."""
    return [metric, BALANCED] if metric == ACCURACY and majorities else [metric]


def read_majorities(majorities: Mapping[str, Majority]) -> list[str]:
    """A sentence per class and share: what always answering the largest class scores."""
    grouped: dict[str, list[str]] = {}
    for protocol, found in majorities.items():
        grouped.setdefault(_read_majority(found), []).append(name_protocol(protocol))
    return [f"{join_words(protocols)}: {sentence}" for sentence, protocols in grouped.items()]


def _read_majority(found: Majority) -> str:
    name = found.name.replace("_", " ")
    return (
        f"{100 * found.share:.0f} % of the test images are {name}. Always answering {name} has accuracy "
        f"{show(found.share, 2)} and balanced accuracy {show(1 / found.classes, 2)}."
    )


def list_balanced_lines(summary: pd.DataFrame) -> dict[tuple[str, str], list[str]]:
    """Balanced accuracy of each model. summary: rows of one task.

    Returns (architecture, protocol) -> `balanced 0.549` and, if there is one, its interval.
    """
    rows = summary[summary["metric"] == BALANCED].dropna(subset="mean")
    return {
        (row["architecture"], row["protocol"]): [
            line for line in (f"balanced {show(row['mean'])}", show_interval(row["low"], row["high"])) if line
        ]
        for row in rows.to_dict("records")
    }
