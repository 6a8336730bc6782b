"""Simulate test folds of one to seven images a patient that look alike, and count how often intervals hold the truth.

    python -m tests.evaluation.comparison.simulated_patients 1000

prints a table of docs/explanation/statistics.md (about five minutes).
"""

from __future__ import annotations

import sys
from functools import cache

import numpy as np
from scipy import special
from sklearn.metrics import roc_auc_score

from covbench.evaluation.comparison.draws import draw_groups
from covbench.evaluation.comparison.intervals import Estimate, estimate_score
from covbench.evaluation.comparison.ranked_draws import rank_images, score_ranks

MEASURES = ("accuracy", "AUROC", "Dice, slices", "Dice, volumes")
NUMBERS = (4, 5, 6, 7, 8, 9, 10, 15, 20, 30, 60, 150)
DRAWS = 1000


def draw_study(rng: np.random.Generator, patients: int, diseased: float = 0.4) -> tuple[np.ndarray, ...]:
    """Images of patients with one diagnosis each: whether diseased, score, patient."""
    places = np.repeat(np.arange(patients), rng.integers(1, 8, patients))
    ill, habit = rng.random(patients) < diseased, rng.normal(size=patients)
    return ill[places], ill[places] + habit[places] + rng.normal(size=len(places)), places


def draw_lesions(rng: np.random.Generator, patients: int) -> tuple[np.ndarray, ...]:
    """Slices with lesions alike in size and in how well they are found: pixels in both masks, in either, patient."""
    places = np.repeat(np.arange(patients), rng.integers(1, 8, patients))
    habit, extent = rng.normal(size=patients)[places], rng.normal(0, 0.8, patients)[places]
    true = 500 * np.exp(extent + rng.normal(0, 0.5, len(places)))
    predicted = true * np.exp(rng.normal(0, 0.3, len(places)))
    found = special.expit(0.8 + 0.7 * habit + 0.5 * rng.normal(size=len(places)) + 0.3 * np.log(true / 500))
    return found * np.minimum(true, predicted), true + predicted, places


@cache
def compute_truth() -> np.ndarray:
    """The scores of 200,000 patients, in the order of MEASURES."""
    ill, score, _ = draw_study(np.random.default_rng(99), 200_000)
    both, either, places = draw_lesions(np.random.default_rng(99), 200_000)
    volumes = 2 * np.bincount(places, both) / np.bincount(places, either)
    slices = 2 * both / either
    return np.array([np.mean((score > 0.5) == ill), roc_auc_score(ill, score), slices.mean(), volumes.mean()])


def estimate_study(rng: np.random.Generator, patients: int, weights: np.ndarray) -> list[Estimate]:
    """Estimate the scores of MEASURES in one study. An AUROC of a single class is no estimate: it is left out."""
    ill, score, places = draw_study(rng, patients)
    right = ((score > 0.5) == ill).astype(float)
    drawn = (np.bincount(places, right, patients) @ weights) / (np.bincount(places) @ weights)
    found = [estimate_score(np.array([right.mean()]), drawn[None], patients, rate=True)]
    auroc, ranked = np.nan, np.full(weights.shape[1], np.nan)
    rarer = min(len(np.unique(places[ill])), len(np.unique(places[~ill])))
    if rarer:
        auroc, ranked = roc_auc_score(ill, score), score_ranks(rank_images(ill, score, places, patients), weights)[0]
    found.append(estimate_score(np.array([auroc]), ranked[None], min(patients, 2 * rarer)))
    both, either, places = draw_lesions(rng, patients)
    dice, volumes = 2 * both / either, 2 * np.bincount(places, both) / np.bincount(places, either)
    slices = (np.bincount(places, dice) @ weights) / (np.bincount(places) @ weights)
    found.append(estimate_score(np.array([dice.mean()]), slices[None], patients))
    return [*found, estimate_score(np.array([volumes.mean()]), (volumes @ weights / patients)[None], patients)]


def measure_coverage(patients: int, studies: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Share of intervals that hold the truth, and share of studies with an interval: float64, (4,) each."""
    rng, truth = np.random.default_rng([seed, patients]), compute_truth()
    held, given = np.zeros(4), np.zeros(4)
    for study in range(studies):
        found = estimate_study(rng, patients, draw_groups(patients, DRAWS, seed=study))
        for number, estimate in enumerate(found):
            given[number] += not np.isnan(estimate.low)
            held[number] += estimate.low <= truth[number] <= estimate.high
    return held / np.maximum(given, 1), given / studies


if __name__ == "__main__":
    print("| Patients | " + " | ".join(MEASURES) + " |\n| --- " + "| --- " * len(MEASURES) + "|")
    for number in NUMBERS:
        shares = [
            f"{share:.1%}" + (f" (of {some:.0%})" if some < 1 else "") if some > 0.02 else "none"
            for share, some in zip(*measure_coverage(number, int(sys.argv[1])), strict=True)
        ]
        print(f"| {number} | {' | '.join(shares)} |", flush=True)
