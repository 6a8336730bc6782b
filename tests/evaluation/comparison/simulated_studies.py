"""Simulate studies of architectures whose true scores are known, and count how often covbench is right about them.

A study has two architectures with three trainings each. Its patients have one to three images that look
alike. Whatever is estimated, is estimated by the functions that make the tables.

    python -m tests.evaluation.comparison.simulated_studies 0 1000
    python -m tests.evaluation.comparison.simulated_studies 0.05 400

prints the tables of docs/explanation/statistics.md for a true difference of 0 and of 0.05, with 1,000 and with 400
studies per cell. It takes two minutes on a free core for 1,000.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from covbench.evaluation.comparison.draws import draw_groups
from covbench.evaluation.comparison.intervals import Estimate, estimate_difference, estimate_score

AUROC = 0.85
SHARED, ARCHITECTURE, TRAINING = 0.5, 0.25, 0.25
"""Variance of a score within a class: patients that are hard for all, for one architecture, for one training."""
DESIGNS = ("official", "disjoint", "overlapping")
NOISES, PATIENTS, SEEDS, DRAWS = (0.008, 0.016, 0.05), (200, 600, 1500), 3, 400


@dataclass(frozen=True)
class Cell:
    """What the studies of one cell have in common.

    design: the seeds' test folds: `official` is one fold of all patients, `disjoint` a third of the patients each, and
    `overlapping` a random quarter each. patients: of the dataset. noise: standard deviation of AUROC over trainings.
    gap: true difference of the two architectures.
    """

    design: str
    patients: int
    noise: float
    gap: float = 0.0
    seeds: int = SEEDS


def choose_folds(rng: np.random.Generator, cell: Cell) -> list[np.ndarray]:
    """Choose each seed's test patients."""
    everyone = rng.permutation(cell.patients)
    if cell.design == "disjoint":
        return np.array_split(everyone, cell.seeds)
    if cell.design == "overlapping":
        return [rng.choice(cell.patients, cell.patients // 4, replace=False) for _ in range(cell.seeds)]
    return [everyone] * cell.seeds


def separate(auroc: np.ndarray | float) -> np.ndarray:
    """The distance of two normal distributions of variance 1 that gives this AUROC."""
    return np.sqrt(2) * stats.norm.ppf(auroc)


def share_out(is_class: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The share of the other class that each image is ranked correctly against: float64, (N,). Ties count half."""
    ranks, values = stats.rankdata(scores), np.empty(len(scores))
    for chosen in (is_class, ~is_class):
        beaten = (ranks[chosen] - stats.rankdata(scores[chosen])) / (~chosen).sum()
        values[chosen] = beaten if chosen is is_class else 1 - beaten
    return values


def tabulate_shares(is_class: np.ndarray, scores: np.ndarray, groups: np.ndarray, number: int) -> np.ndarray:
    """The sums of the images' shares by group, and the numbers of images, of both classes: float64, (4, number)."""
    values = share_out(is_class, scores)
    parts = [(groups[chosen], values[chosen]) for chosen in (is_class, ~is_class)]
    sums = [np.bincount(names, shares, number) for names, shares in parts]
    return np.array([*sums, *(np.bincount(names, minlength=number) for names, _ in parts)])


def draw_aurocs(tables: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROCs and their bootstrap draws to first order, much faster than ranking in every draw: (K,) and (K, B).

    tables: (K, 4, P), as tabulate_shares makes them. weights: (P, B).
    """
    drawn = (tables.reshape(-1, tables.shape[-1]) @ weights).reshape(len(tables), 4, -1)
    sums = tables.sum(axis=-1)
    auroc = sums[:, 0] / sums[:, 2]
    return auroc, drawn[:, 0] / drawn[:, 2] + drawn[:, 1] / drawn[:, 3] - auroc[:, None]


def simulate(cell: Cell, studies: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each study's AUROCs, (2, S), and the same in each bootstrap draw, (2, S, B)."""
    rng = np.random.default_rng([seed, cell.patients, int(1e4 * cell.noise), DESIGNS.index(cell.design)])
    weights = [draw_groups(cell.patients, DRAWS, seed=number) for number in range(5)]
    for study in range(studies):
        groups = np.repeat(np.arange(cell.patients), rng.integers(1, 4, cell.patients))
        diseased = (rng.random(cell.patients) < 0.5)[groups]
        hard = rng.normal(0, SHARED**0.5, cell.patients)[groups]
        own = rng.normal(0, ARCHITECTURE**0.5, (2, cell.patients))[:, groups]
        folds, tables = choose_folds(rng, cell), []
        for number in range(2):
            for fold in folds:
                chosen = np.bincount(fold, minlength=cell.patients)[groups] > 0
                auroc = np.clip(AUROC + number * cell.gap + rng.normal(0, cell.noise), 0.51, 0.999)
                scores = separate(auroc) * diseased + hard + own[number] + rng.normal(0, TRAINING**0.5, len(groups))
                tables.append(tabulate_shares(diseased[chosen], scores[chosen], groups[chosen], cell.patients))
        values, draws = draw_aurocs(np.array(tables), weights[study % len(weights)])
        yield values.reshape(2, -1), draws.reshape(2, cell.seeds, -1)


def estimate_gaps(cell: Cell, studies: int) -> Iterator[tuple[Estimate, Estimate, Estimate]]:
    """Yield of every study the difference of both, the same without the noise of training, and the score of one."""
    for values, draws in simulate(cell, studies):
        gaps, drawn = values[1] - values[0], draws[1] - draws[0]
        groups = min(cell.patients // 4 * cell.seeds if cell.design == "overlapping" else cell.patients, cell.patients)
        ignored = estimate_difference(gaps.mean(keepdims=True), drawn.mean(axis=0, keepdims=True), groups)
        yield estimate_difference(gaps, drawn, groups), ignored, estimate_score(values[0], draws[0], groups)


def excludes_zero(found: Estimate) -> bool:
    """Whether the interval of a difference excludes 0: exactly where its p-value is below .05."""
    return found.low > 0 or found.high < 0


def measure_shares(cell: Cell, studies: int) -> np.ndarray:
    """Measure the shares of MEASURES in the studies of a cell: float64, (3,)."""
    found = [
        (excludes_zero(gap), excludes_zero(ignored), score.low <= AUROC <= score.high)
        for gap, ignored, score in estimate_gaps(cell, studies)
    ]
    return np.mean(found, axis=0)


MEASURES = ("called different", "called different if the noise of training is ignored", "AUROC covered")


def print_table(gap: float, studies: int, designs: Sequence[str] = DESIGNS) -> None:
    """Print the shares of MEASURES for one true difference, a row per design and number of patients.

    Args:
        gap: the true difference of the two architectures.
        studies: number of studies per cell.
        designs: of DESIGNS.
    """
    headings = [f"{measure}, sd {noise}" for measure in MEASURES for noise in NOISES]
    print(f"True difference {gap}, {studies:,} studies per cell\n\n| Design | Patients | {' | '.join(headings)} |")
    print("| --- " * (2 + len(headings)) + "|")
    for design in designs:
        for patients in PATIENTS:
            shares = np.array([measure_shares(Cell(design, patients, noise, gap), studies) for noise in NOISES])
            cells = [f"{100 * share:.1f} %" for share in shares.T.ravel()]
            print(f"| {design} | {patients:,} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    print_table(float(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or DESIGNS)
