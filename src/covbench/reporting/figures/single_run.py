"""The figures of a single run, for MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from covbench.reporting.figures.lines_and_bars import (
    draw_confusions,
    draw_learning_curves,
    draw_roc_pr,
    follow_theme,
    to_svg,
)


def draw_run(metrics: Mapping[str, Any], history: pd.DataFrame) -> dict[str, str]:
    """File name -> SVG: confusion matrix, and ROC, precision-recall and learning curves where they exist."""
    figures = {"confusion.svg": draw_confusions([("test", np.array(metrics["confusion"], float))], metrics["classes"])}
    if metrics.get("curves"):
        figures["curves.svg"] = draw_roc_pr([("test", metrics["curves"])], list(metrics["curves"]))
    if not history.empty:
        figures["learning.svg"] = draw_learning_curves({"": [history]})
    return {name: follow_theme(to_svg(figure)) for name, figure in figures.items()}
