"""Score test folds a second time without test images that have a near-duplicate in the same fold."""

from __future__ import annotations

import numpy as np

from covbench.evaluation.comparison.bootstrap import list_groups, score_draws
from covbench.evaluation.comparison.contestants import WHOLE, Contestant
from covbench.evaluation.comparison.model_pairs import COMPARED


def compare_without_duplicates(contestant: Contestant) -> dict[str, dict[str, float]]:
    """Average the compared metrics over one image per `duplicate_set` of each test fold: the first one by name.

    Returns:
        By metric, the columns `without_duplicates` and `duplicates_dropped` of the table `summary`. Empty if no image
        is dropped.
    """
    scores, dropped = [], []
    for run in contestant.runs.values():
        ordered = run.cases.sort_values(["image_id", "copy"], kind="stable")
        kept = ordered.drop_duplicates("duplicate_set").reset_index(drop=True)
        dropped.append(len(run.cases) - len(kept))
        groups = list_groups([kept])
        scores.append(score_draws(run.metrics, kept, groups, np.ones((len(groups), 1))))
    if not any(dropped):
        return {}
    compared = COMPARED[contestant.kind]
    return {
        metric: {
            "without_duplicates": float(np.mean([found[WHOLE, metric][0] for found in scores])),
            "duplicates_dropped": float(np.mean(dropped)),
        }
        for metric in compared
    }
