"""Simulate operating points: a threshold is chosen on a validation fold, and a test fold of other patients rates it.

    python -m tests.evaluation.comparison.simulated_thresholds 1000

prints a table of docs/explanation/statistics.md (about ten minutes).
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from covbench.evaluation.comparison.draws import draw_groups
from covbench.evaluation.comparison.operating_points import IMAGE, PATIENT, POINTS, estimate_point, rate_points
from covbench.evaluation.comparison.validation import SharedDraws
from tests.evaluation.comparison.simulated_patients import draw_study

DRAWS = 500
SIZES = ((20, 40), (40, 40), (40, 120), (60, 60), (60, 200), (100, 400))
"""Patients of the validation and of the test fold; two of five are ill."""


def draw_fold(rng: np.random.Generator, patients: int, first: int, unit: str) -> pd.DataFrame:
    """Images of new patients, or the patients themselves, as operating_points.pool_patients returns them."""
    ill, score, places = draw_study(rng, patients)
    images = pd.DataFrame({"probability": score, "positive": ill, "group": places + first})
    if unit == IMAGE:
        return images
    return images.groupby("group", as_index=False).agg({"probability": "mean", "positive": "any"})


def simulate_studies(sizes: tuple[int, int], unit: str, studies: int, seed: int = 0) -> dict[tuple, pd.DataFrame]:
    """Operating point -> a row per study, as estimate_point returns it; empty where a rate cannot be promised.

    `kept` is the rate that the threshold keeps on average: of n scores, some whole number divided by n + 1.
    """
    rng = np.random.default_rng([seed, *sizes])
    shared = SharedDraws(pd.Index(range(sum(sizes))), draw_groups(sum(sizes), DRAWS))
    rows: dict[tuple, list] = {point: [] for point in POINTS}
    for _ in range(studies):
        validation, test = (draw_fold(rng, size, first, unit) for size, first in zip(sizes, (0, sizes[0]), strict=True))
        groups = {
            name: min(len(set(fold.loc[fold["positive"] == side, "group"])) for fold in (validation, test))
            for name, side in (("sensitivity", True), ("specificity", False))
        }
        for (promised, level), rated in rate_points(validation, test, shared).items():
            scores = int((validation["positive"] == (promised == "sensitivity")).sum())
            kept = np.ceil(level * (scores + 1) - 1e-9) / (scores + 1)
            rows[promised, level].append(estimate_point([rated], groups) | {"kept": kept})
    return {point: pd.DataFrame(found) for point, found in rows.items()}


def measure_promise(studies: pd.DataFrame, promised: str, level: float) -> tuple[float, float, float]:
    """Share of the intervals that hold the promised rate, share that hold `kept`, and the mean of the rate.

    All are NaN if the rate cannot be promised.
    """
    if promised not in studies:
        return np.nan, np.nan, np.nan
    given = studies.dropna(subset=f"{promised}_low")
    low, high = given[f"{promised}_low"], given[f"{promised}_high"]
    shares = [float(((low <= rate) & (rate <= high)).mean()) for rate in (level, given["kept"])]
    return shares[0], shares[1], float(studies[promised].mean())


if __name__ == "__main__":
    print("| Unit | Validation | Test | " + " | ".join(f"{name} {level:.0%}" for name, level in POINTS) + " |")
    print("| --- " * (3 + len(POINTS)) + "|")
    for unit in (IMAGE, PATIENT):
        for sizes in SIZES:
            found = simulate_studies(sizes, unit, int(sys.argv[1]))
            shares = [measure_promise(table, *point) for point, table in found.items()]
            cells = ["none" if np.isnan(held) else f"{held:.1%} {kept:.1%} ({mean:.1%})" for held, kept, mean in shares]
            print(f"| {unit} | {sizes[0]} | {sizes[1]} | {' | '.join(cells)} |", flush=True)
