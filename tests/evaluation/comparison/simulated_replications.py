"""Simulate perfect replications of the study, and count how often the verdict is `matches`.

The study and every seed of ours train the same architecture and test it on as many images of the same kind. Its true
accuracy varies over trainings. Whatever is estimated or judged, the functions that make the tables do it.

    python -m tests.evaluation.comparison.simulated_replications 1000
    python -m tests.evaluation.comparison.simulated_replications 1000 sizes

print the tables of docs/explanation/statistics.md (1,000 replications per cell; two minutes).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from covbench.evaluation.comparison.intervals import Estimate, estimate_score
from covbench.evaluation.comparison.verdicts import MATCHES, Reported, judge

IMAGES, ACCURACIES, NOISES = (136, 544, 2481), (0.90, 0.96), (0.0, 0.008, 0.016, 0.05)
SEEDS, DRAWS, STEP = 3, 400, 0.01


@dataclass(frozen=True)
class Cell:
    """What the replications of one cell have in common.

    images: in each of our test sets. accuracy: true mean over trainings. noise: its standard deviation over trainings;
    an accuracy above 1 is taken as 1. seeds: our trainings. gap: what the study's accuracy is higher by. study: images
    in the study's test set; 0: as many as in ours.
    """

    images: int
    accuracy: float
    noise: float
    seeds: int = SEEDS
    gap: float = 0.0
    study: int = 0


def replicate(cell: Cell, rng: np.random.Generator) -> tuple[Estimate, dict[str, float], Reported]:
    """Draw our runs and the study's: our estimate, the row of `summary` that it makes, and the study's value."""

    def score(images: int, runs: int, gap: float = 0.0) -> np.ndarray:
        true = np.clip(cell.accuracy + gap + cell.noise * rng.standard_normal(runs), 0, 1)
        return rng.binomial(images, true) / images

    values, study = score(cell.images, cell.seeds), cell.study or cell.images
    draws = rng.binomial(cell.images, values, (DRAWS, cell.seeds)).T / cell.images  # a bootstrap of single images
    groups = cell.images * cell.seeds
    found = estimate_score(values, draws, groups, rate=True)
    row = {name: getattr(found, name) for name in ("se", "run_se", "training_sd")}
    row |= {"mean": found.value, "sd": float(np.std(values, ddof=1)), "seeds": cell.seeds, "groups": groups}
    return found, row, Reported(round(float(score(study, 1, cell.gap)[0]), 2), STEP, study)


def measure_matches(cell: Cell, replications: int, seed: int = 0) -> tuple[float, float]:
    """Measure how often the verdict is `matches`, and how often our interval over patients alone holds the value."""
    rng = np.random.default_rng([seed, cell.images, int(1000 * cell.accuracy), int(1000 * cell.noise)])
    found = []
    for _ in range(replications):
        ours, row, theirs = replicate(cell, rng)
        patients = 1.96 * row["run_se"] / cell.seeds**0.5
        found.append((judge(theirs, row, cell.images).name == MATCHES, abs(theirs.value - ours.value) <= patients))
    return tuple(np.mean(found, axis=0).tolist())


def print_table(heading: str, replications: int, gap: float = 0.0, seeds: int = SEEDS, former: bool = False) -> None:
    """Print a table of docs/explanation/statistics.md.

    Args:
        heading: what its cells are.
        replications: per cell.
        gap: what the study's accuracy is higher by.
        seeds: our trainings.
        former: show how often our interval over patients alone holds the value, instead of the verdict.
    """
    print(f"\n{heading}\n\n| Test images | Accuracy | sd " + " | sd ".join(map(str, NOISES)) + " |")
    print("| --- | --- " + "| --- " * len(NOISES) + "|")
    for images in IMAGES:
        for accuracy in ACCURACIES:
            cells = [Cell(images, accuracy, noise, seeds, min(gap, 1 - accuracy)) for noise in NOISES]
            shares = [measure_matches(cell, replications)[former] for cell in cells]
            shown = " | ".join(f"{100 * share:.1f} %" for share in shares)
            print(f"| {images:,} | {accuracy:.2f} | {shown} |", flush=True)


def print_sizes(replications: int) -> None:
    """Print how often the verdict is `matches` where the study's test set is smaller or larger than ours."""
    print("\nmatches, accuracy 0.90\n\n| Our test images | The study's | sd " + " | sd ".join(map(str, NOISES)) + " |")
    print("| --- | --- " + "| --- " * len(NOISES) + "|")
    for ours, theirs in ((136, 20), (544, 136), (136, 544), (136, 2481)):
        shares = [measure_matches(Cell(ours, 0.90, noise, study=theirs), replications)[0] for noise in NOISES]
        print(f"| {ours:,} | {theirs:,} | {' | '.join(f'{100 * share:.1f} %' for share in shares)} |", flush=True)


if __name__ == "__main__":
    number = int(sys.argv[1])
    if sys.argv[2:] == ["sizes"]:
        print_sizes(number)
        sys.exit()
    print_table("matches", number)
    print_table("our interval over patients alone holds the value", number, former=True)
    print_table("matches, 5 seeds", number, seeds=5)
    print_table("matches although the study's accuracy is .03 higher", number, gap=0.03)
