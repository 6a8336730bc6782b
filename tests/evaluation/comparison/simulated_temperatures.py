"""Simulate temperature scaling: a temperature is fitted on validation patients, and other patients are scaled with it.

    python -m tests.evaluation.comparison.simulated_temperatures 500

prints a table of docs/explanation/statistics.md.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
from scipy import special

from covbench.evaluation.comparison import temperature
from covbench.evaluation.comparison.calibration import LOG_LOSS, Answers, measure_changes
from covbench.evaluation.comparison.draws import draw_groups
from covbench.evaluation.comparison.intervals import estimate_difference
from covbench.evaluation.comparison.validation import SharedDraws

DRAWS = 500
VALIDATION, TEST = (5, 10, 15, 20, 30, 50, 100), (100, 400)
SHARPENED = (1.0, 2.0)
"""Factor of the logits: at 1 the probabilities are calibrated, and scaling can only harm."""


def draw_answers(rng: np.random.Generator, patients: int, first: int, sharpened: float) -> Answers:
    """One to seven images a patient that look alike, half of the patients ill; calibrated if not sharpened."""
    places = np.repeat(np.arange(patients), rng.integers(1, 8, patients))
    ill, habit = (rng.random(patients) < 0.5)[places], rng.normal(size=patients)[places]
    shown = 2 * (ill - 0.5) + habit + rng.normal(size=len(places))  # two normal distributions of variance 2
    chance = special.expit(sharpened * shown)  # 2 * shown / 2 is the logarithm of their ratio
    return Answers(np.stack([1 - chance, chance], axis=1), ill.astype(np.int64), places + first)


def simulate_studies(sizes: tuple[int, int], sharpened: float, studies: int, seed: int = 0) -> pd.DataFrame:
    """Change of the log loss with its interval, a row per study; NaN where no temperature fits.

    sizes: patients of validation and test. sharpened: as SHARPENED.
    """
    rng = np.random.default_rng([seed, *sizes, round(10 * sharpened)])
    shared = SharedDraws(pd.Index(range(sum(sizes))), draw_groups(sum(sizes), DRAWS))
    rows = []
    for _ in range(studies):
        chosen_on = draw_answers(rng, sizes[0], 0, sharpened)
        test = draw_answers(rng, sizes[1], sizes[0], sharpened)
        fitted = temperature.fit_temperature(chosen_on.probabilities, chosen_on.truth, chosen_on.codes, shared)
        if isinstance(fitted, str):
            rows.append((np.nan,) * 3)
            continue
        value, draws = measure_changes(test, fitted, shared)[LOG_LOSS]
        found = estimate_difference(np.array([value]), draws[None], min(sizes))
        rows.append((found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["change", "low", "high"])


if __name__ == "__main__":
    temperature.FEWEST_VALIDATION_GROUPS = 1
    print("| Validation | Test | Logits | Fitted | Mean change | 95 % of changes below | Worse beyond interval |")
    print("| --- " * 7 + "|")
    for factor in SHARPENED:
        for test in TEST:
            for validation in VALIDATION:
                found = simulate_studies((validation, test), factor, int(sys.argv[1]))
                given = found.dropna(subset="change")
                cells = [validation, test, f"x {factor:.0f}", f"{len(given) / len(found):.0%}"]
                cells += [f"{given['change'].mean():+.4f}", f"{given['change'].quantile(0.95):+.4f}"]
                cells += [f"{(given['low'] > 0).mean():.1%}"]
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)
