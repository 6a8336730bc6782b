"""Compare rules for the quantile of a mean over seeds, in normal studies whose variances are known.

The mean over S seeds varies by patients, R / S, and by the noise of training, (L - 1) / S. The variance between seeds
is L: the noise of training and 1 for the patients of each seed. R is 1 if the seeds' test folds are disjoint, and
larger if they share patients. Only the variance between seeds has to be estimated, from S values.

    python -m tests.evaluation.comparison.simulated_quantiles

prints, for each rule, the smallest and the largest share of studies whose 95 % interval misses the truth.
"""

from __future__ import annotations

import numpy as np
from scipy import special

RATIOS, NOISES = (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 4, 5, 10, 50), (1, 1.5, 2, 4, 7, 10, 20, 30, 100, 300, 1000)
STUDIES = 100_000
NORMAL = special.ndtri(0.975)


def measure_reaches(between: np.ndarray, ratio: float, seeds: int) -> dict[str, np.ndarray]:
    """The half-width of the interval by each rule, times the square root of the number of seeds.

    Args:
        between: float64, (N,), the variance between seeds of N studies.
        ratio: R, the variance by patients, which is known.
        seeds: number of seeds.

    Returns:
        float64, (N,), by rule.
    """
    training = np.maximum(between - 1, 0)
    total = ratio + training
    by_seeds, t = np.minimum(between, total), special.stdtrit(seeds - 1, 0.975)
    satterthwaite = np.sqrt(total) * special.stdtrit((seeds - 1) * (total / by_seeds) ** 2, 0.975)
    uncertain = training + (by_seeds - training) / 3
    separate, lifted = (np.sqrt(NORMAL**2 * (total - part) + t**2 * part) for part in (training, uncertain))
    return {
        "patients alone": np.full(len(between), NORMAL * np.sqrt(ratio)),
        "Satterthwaite": satterthwaite,
        "separate quantiles": separate,
        "the wider of both": np.maximum(satterthwaite, separate),
        "the wider of both, a third counted as uncertain (ours)": np.maximum(satterthwaite, lifted),
    }


def measure_misses(ratio: float, noise: float, seeds: int, studies: int = STUDIES) -> dict[str, float]:
    """The share of studies whose interval misses the truth, by rule."""
    rng = np.random.default_rng([seeds, int(10 * ratio), int(10 * noise)])
    between = noise * rng.chisquare(seeds - 1, studies) / (seeds - 1)
    off = np.abs(rng.normal(0, np.sqrt(ratio + noise - 1), studies))
    return {rule: float((off > reach).mean()) for rule, reach in measure_reaches(between, ratio, seeds).items()}


if __name__ == "__main__":
    print("| Rule | 3 seeds | 5 seeds |\n| --- | --- | --- |")
    found = {s: [measure_misses(ratio, noise, s) for ratio in RATIOS for noise in NOISES] for s in (3, 5)}
    for rule in found[3][0]:
        cells = [[misses[rule] for misses in found[s]] for s in found]
        print(f"| {rule} | " + " | ".join(f"{min(cell):.1%} to {max(cell):.1%}" for cell in cells) + " |")
