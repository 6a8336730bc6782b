"""The table of operating points. Its predictive values follow the prevalence that the reader types into the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from covbench.evaluation.comparison.operating_points import IMAGE
from covbench.reporting.tables import Cell, Table, describe_cover, number_cell, order_protocols
from covbench.reporting.wording import DASH, is_number, name_protocol, show, show_interval

RATES = {"sensitivity": "Sensitivity", "specificity": "Specificity", "lr_positive": "LR+", "lr_negative": "LR−"}
"""Column -> heading."""


@dataclass(frozen=True)
class OperatingPoints:
    """What a page shows about operating points. prevalence: that of the test images, for which the page opens."""

    table: Table
    prevalence: float


def build_operating_points(points: pd.DataFrame) -> OperatingPoints | None:
    """Make a row per model, protocol, unit and promised rate; None if there is no operating point.

    points: rows of results/compare/operating_points.csv of one task.
    """
    shown = points.dropna(subset="sensitivity")
    if shown.empty:
        return None
    of_images = shown.loc[shown["unit"] == IMAGE, "prevalence"].mean()
    prevalence = min(max(round(float(of_images), 3), 0.001), 0.999)  # what the page's input shows and takes
    order = {name: rank for rank, name in enumerate(order_protocols(points["protocol"]))}
    shown = shown.sort_values("protocol", key=lambda names: names.map(order), kind="stable")
    headings = [("Model", ""), ("Protocol", ""), ("Of each", "a patient's probability is the mean over the images")]
    headings += [("Chosen for", "rate that the threshold has to hold on the validation fold")]
    headings += [(heading, "on the test fold · 95 % interval, which covers the choice") for heading in RATES.values()]
    headings += [("PPV", "at the prevalence above"), ("NPV", "at the prevalence above")]
    headings += [("Groups with / without", "groups of images of both classes in the test folds")]
    table = Table(
        f"Operating points chosen on validation; {describe_cover(shown['covers'])}",
        headings,
        [_build_row(row, prevalence) for row in shown.to_dict("records")],
        ("Protocol", "Of each", "Chosen for"),
        list(_explain_missing(points[points["sensitivity"].isna()])),
    )
    return OperatingPoints(table, prevalence)


def _build_row(row: Mapping[Any, Any], prevalence: float) -> list[Cell]:
    cells = [Cell(row["architecture"], row["architecture"]), Cell(name_protocol(row["protocol"])), Cell(row["unit"])]
    cells.append(Cell(_name_point(row)))
    cells += [number_cell(row[name], row[f"{name}_low"], row[f"{name}_high"], note=row["reason"]) for name in RATES]
    cells += [_predictive_cell(row, name, prevalence) for name in ("ppv", "npv")]
    return [*cells, Cell(f"{row['positive_groups']:,} / {row['negative_groups']:,}")]


def _name_point(row: Mapping[Any, Any]) -> str:
    return f"{row['promised']} {row['level']:.0%}"


def predict_value(name: str, ratio: float, prevalence: float) -> float:
    """Compute a predictive value from a likelihood ratio (Bayes' theorem).

    Args:
        name: ppv, from the positive ratio, or npv, from the negative one.
        ratio: the likelihood ratio; infinite if nobody without the disease is called ill.
        prevalence: share of the ill, above 0 and below 1.

    Returns:
        The predictive value, 0-1.
    """
    odds = ratio * prevalence / (1 - prevalence)
    share = 1.0 if odds == float("inf") else odds / (1 + odds)
    return share if name == "ppv" else 1 - share


def _predictive_cell(row: Mapping[Any, Any], name: str, prevalence: float) -> Cell:
    """A predictive value with the likelihood ratios that the page's script computes it from for other prevalences."""
    column = "lr_positive" if name == "ppv" else "lr_negative"
    ratio, *ends = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
    if name == "ppv" and row["specificity"] == 1 and row["sensitivity"] > 0:
        ratio = float("inf")
    if pd.isna(ratio):
        return Cell(DASH, None, note="undefined", kind="undefined")
    value = predict_value(name, ratio, prevalence)
    bounds = sorted(predict_value(name, end, prevalence) for end in ends if is_number(end))
    facts = {"predictive": name, "ratio": str(ratio).replace("inf", "Infinity"), "ends": " ".join(map(str, ends))}
    return Cell(show(value), value, show_interval(*bounds) if len(bounds) == 2 else "", facts=facts)


def _explain_missing(missing: pd.DataFrame) -> Iterator[str]:
    """A line per reason, with what it concerns."""
    for reason, rows in missing.groupby("reason", sort=False):
        concerned = [
            f"{row['architecture']}, {name_protocol(row['protocol'])}, {row['unit']}, {_name_point(row)}"
            for row in rows.to_dict("records")
        ]
        more = f" and {len(concerned) - 3} more" if len(concerned) > 3 else ""
        yield f"No operating point, because {reason}: {'; '.join(concerned[:3])}{more}."
