"""Count where the lungs of a task's images come from, and measure the classical segmentation on shipped masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from covbench.data.lungs import FOUND, NOWHERE, SHIPPED
from covbench.evaluation.comparison.bootstrap import mean_draws
from covbench.evaluation.comparison.draws import draw_blocks
from covbench.evaluation.comparison.intervals import estimate_score


def tabulate_lungs(facts: pd.DataFrame, groups: pd.Series) -> dict[str, Any]:
    """Make a row of the table `lungs`, without `task` and `size`.

    facts: data.lungs.LUNG_COLUMNS, (N,). groups: str, (N,), the group of each image.
    """
    counts = {name: int((facts["origin"] == name).sum()) for name in (SHIPPED, FOUND, NOWHERE)}
    known = facts["dice"].notna().to_numpy()
    dice = facts["dice"].to_numpy(np.float64)[known]
    found = {"images": len(facts), **counts, "missed": int((dice == 0).sum())}
    if not len(dice):
        return found
    codes, names = pd.factorize(groups.to_numpy()[known])
    draws = np.concatenate([mean_draws(dice, codes, weights) for weights in draw_blocks(len(names))])
    estimate = estimate_score(np.array([dice.mean()]), draws[None], len(names))
    return found | estimate.name_columns("dice")
