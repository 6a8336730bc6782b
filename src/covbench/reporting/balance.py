"""Says where accuracy misleads, because most test images belong to one class."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from covbench.reporting.tables import order_protocols
from covbench.reporting.wording import join_words, name_protocol, show, show_interval

MISLEADING = 0.6
"""Accuracy is shown with balanced accuracy if a class holds more than this share of the test images."""
ACCURACY, BALANCED = "accuracy", "balanced_accuracy"


def find_majorities(metrics: pd.DataFrame) -> dict[str, tuple[str, float]]:
    """Find the class that holds most test images, where it holds more than MISLEADING.

    metrics: rows of one task, as results/compare/metrics.csv.

    Returns protocol -> (class, its share over all seeds), in the order of the report.
    """
    images = metrics[(metrics["metric"] == "support") & (metrics["class"] != "")]
    found = {}
    for protocol in order_protocols(images["protocol"]):
        counts = images[images["protocol"] == protocol].groupby("class", sort=False)["value"].sum()
        share = counts.max() / counts.sum()
        if share > MISLEADING:
            found[protocol] = (str(counts.idxmax()), float(share))
    return found


def accompany(metric: str, majorities: Mapping[str, tuple[str, float]]) -> list[str]:
    """List a metric and, where it is an accuracy that misleads, balanced accuracy."""
    return [metric, BALANCED] if metric == ACCURACY and majorities else [metric]


def read_majorities(majorities: Mapping[str, tuple[str, float]]) -> list[str]:
    """A sentence per class and share: what always answering the largest class scores."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for protocol, (name, share) in majorities.items():
        grouped.setdefault((name.replace("_", " "), f"{share:.2f}"), []).append(name_protocol(protocol))
    return [
        f"{100 * float(share):.0f} % of the test images are {name} ({join_words(protocols)}): always answering {name} has "
        f"accuracy {share}. Balanced accuracy is shown beside it."
        for (name, share), protocols in grouped.items()
    ]


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
