"""Compare rules for the quantile of a mean over seeds, in normal studies whose variances are known.

The mean over S seeds varies by patients, R / S, and by the noise of training, (L - 1) / S. The variance between seeds
is L: the noise of training and 1 for the patients of each seed. R is 1 if the seeds' test folds are disjoint, and
larger if they share patients. Only the variance between seeds has to be estimated, from S values.

    python -m tests.evaluation.comparison.simulated_quantiles

prints, for each rule, the smallest and the largest share of studies whose 95 % interval misses the truth, and the share
of studies with a wrong verdict among all pairs of several equal architectures.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy import special

RATIOS, NOISES = (1, 1.4, 2, 3, 5, 10, 50), (1, 2, 4, 10, 30, 100, 1000)
STUDIES = 50_000
SCORES, DIFFERENCES = "the wider of both (scores)", "all between seeds with the quantile of seeds (differences)"


def measure_reaches(between: np.ndarray, ratio: float, seeds: int, p: float = 0.05) -> dict[str, np.ndarray]:
    """The half-width of the interval by each rule, times the square root of the number of seeds.

    Args:
        between: float64, (…), the variance between seeds.
        ratio: R, the variance by patients, which is known.
        seeds: number of seeds.
        p: the share of studies that the interval may miss.

    Returns:
        float64, (…), by rule.
    """
    training = np.maximum(between - 1, 0)
    total = ratio + training
    by_seeds, level = np.minimum(between, total), 1 - p / 2
    normal, t = special.ndtri(level), special.stdtrit(seeds - 1, level)
    satterthwaite = np.sqrt(total) * special.stdtrit((seeds - 1) * (total / by_seeds) ** 2, level)
    separate, strict = (np.sqrt(normal**2 * (total - part) + t**2 * part) for part in (training, by_seeds))
    return {
        "patients alone": np.full(np.shape(between), normal * np.sqrt(ratio)),
        "Satterthwaite": satterthwaite,
        "separate quantiles": separate,
        SCORES: np.maximum(satterthwaite, separate),
        DIFFERENCES: np.maximum(satterthwaite, strict),
    }


def measure_misses(ratio: float, noise: float, seeds: int, studies: int = STUDIES) -> dict[str, float]:
    """The share of studies whose interval misses the truth, by rule."""
    rng = np.random.default_rng([seeds, int(10 * ratio), int(10 * noise)])
    between = noise * rng.chisquare(seeds - 1, studies) / (seeds - 1)
    off = np.abs(rng.normal(0, np.sqrt(ratio + noise - 1), studies))
    return {rule: float((off > reach).mean()) for rule, reach in measure_reaches(between, ratio, seeds).items()}


def measure_wrong_tables(models: int, ratio: float, noise: float, studies: int = 5000) -> dict[str, float]:
    """The share of studies that call any two of several equal architectures different, after Holm, by rule."""
    rng, seeds = np.random.default_rng([models, int(10 * ratio), int(10 * noise)]), 3
    shared = rng.normal(0, np.sqrt((ratio - 1) / seeds), (studies, models, 1))
    scores = shared + rng.normal(0, np.sqrt(noise), (studies, models, seeds))
    one, other = np.array(list(combinations(range(models), 2))).T
    gaps = (scores[:, one] - scores[:, other]) / np.sqrt(2)
    off, between = np.abs(gaps.mean(axis=-1)) * np.sqrt(seeds), gaps.var(axis=-1, ddof=1)
    reaches = measure_reaches(between, ratio, seeds, 0.05 / len(one))
    return {rule: float((off > reach).any(axis=1).mean()) for rule, reach in reaches.items()}


def print_table(title: str, columns: dict[str, list[dict[str, float]]]) -> None:
    """Print the smallest and the largest share of each rule. columns: by heading, the shares of every cell."""
    print(f"\n| {title} | " + " | ".join(columns) + " |\n| --- " + "| --- " * len(columns) + "|")
    for rule in next(iter(columns.values()))[0]:
        cells = [[misses[rule] for misses in found] for found in columns.values()]
        shown = [f"{100 * min(cell):.1f} to {100 * max(cell):.1f} %" for cell in cells]
        print(f"| {rule} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    grid = [(ratio, noise) for ratio in RATIOS for noise in NOISES]
    print_table("Truth missed", {f"{s} seeds": [measure_misses(*cell, s) for cell in grid] for s in (3, 5)})
    print_table(
        "Any wrong verdict", {f"{k} models": [measure_wrong_tables(k, *cell) for cell in grid] for k in (2, 6, 12)}
    )
