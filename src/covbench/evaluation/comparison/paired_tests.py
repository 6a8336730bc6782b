"""Test whether one model is better than another on the same test images, by patient and over seeds.

Images of one patient are not independent. Neither are the test folds of several seeds, which share patients. Every test
here therefore sums over all images of a patient first, whatever the seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

FLIPS = 10_000
BLOCK = 500

PairedFold = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""What the tests need to know of the N images of one fold, (N,) each.

The arrays are whether each image is of the class (bool), the scores of the two models (float), and the image's patient
(int64).
"""


def compare_aurocs(folds: Sequence[PairedFold]) -> tuple[float, float, float]:
    """Compare the AUROC of two models: mean difference over folds, its standard error, and a two-sided p-value.

    folds: one per seed and class, with the same patient numbers in all.

    With one fold and one image per patient this is the test of DeLong, DeLong and Clarke-Pearson (1988, Biometrics
    44:837). With several images per patient it is the test of Obuchowski (1997, Biometrics 53:567). With several folds,
    each patient's parts are summed before they are squared. All three are NaN if a fold lacks one of the two classes.
    """
    patients = 1 + max(int(patient_codes.max()) for *_, patient_codes in folds)
    parts = np.zeros((2, patients))
    held = np.zeros((2, patients), bool)
    gains = []
    for is_class, one, other, patient_codes in folds:
        if is_class.all() or not is_class.any():
            return np.nan, np.nan, np.nan
        gain = place_values(is_class, one) - place_values(is_class, other)
        gains.append(gain[is_class].mean())
        for row, chosen in enumerate((is_class, ~is_class)):
            centred = (gain[chosen] - gains[-1]) / chosen.sum() / len(folds)
            parts[row] += np.bincount(patient_codes[chosen], centred, patients)
            held[row, patient_codes[chosen]] = True
    numbers = np.array([*held.sum(axis=1), held.any(axis=0).sum()])
    sums = np.array([*(parts**2).sum(axis=1), 2 * (parts[0] * parts[1]).sum()])
    if (numbers < 2).any():
        return float(np.mean(gains)), np.nan, np.nan
    return _test_normal(float(np.mean(gains)), float(np.sqrt(max((numbers / (numbers - 1) * sums).sum(), 0))))


def place_values(is_class: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Compute the share of the other class that each image is ranked correctly against: float64, (N,), 0-1.

    Ties count half. The mean over the images of a class is the AUROC. The shares come from midranks (Sun and Xu 2014,
    IEEE Signal Process. Lett.).
    """
    ranks, values = stats.rankdata(scores), np.empty(len(scores))
    for chosen in (is_class, ~is_class):
        beaten = (ranks[chosen] - stats.rankdata(scores[chosen])) / (~chosen).sum()
        values[chosen] = beaten if chosen is is_class else 1 - beaten
    return values


def _test_normal(difference: float, error: float) -> tuple[float, float, float]:
    if error == 0:
        return difference, error, 1.0 if difference == 0 else 0.0
    return difference, error, float(2 * stats.norm.sf(abs(difference) / error))


def flip_signs(gains: np.ndarray, flips: int = FLIPS, seed: int = 0) -> np.ndarray:
    """Compute p-values of a paired permutation test, which swaps the two models of random patients.

    A p-value is the share of permutations whose sum is at least as far from 0 as the observed one. The observed order
    counts as one of them (Phipson and Smyth 2010).

    Args:
        gains: float64, (P, K), each patient's share in the difference of K pairs of models.
        flips: number of random permutations.
        seed: seed of the permutations.

    Returns:
        Two-sided p-values: float64, (K,), at least 1 / (flips + 1).
    """
    observed = np.abs(gains.sum(axis=0)) * (1 - 1e-9)
    rng, extreme = np.random.default_rng(seed), np.zeros(gains.shape[1])
    for start in range(0, flips, BLOCK):
        signs = rng.integers(0, 2, (min(BLOCK, flips - start), len(gains))) * 2.0 - 1
        extreme += (np.abs(signs @ gains) >= observed).sum(axis=0)
    return (extreme + 1) / (flips + 1)


def compare_correct(one: np.ndarray, other: np.ndarray) -> float:
    """Return the two-sided p-value of McNemar's exact test for two models, with one image per patient.

    one, other: bool, (N,), whether each answer is right.
    """
    only_one, only_other = int((one & ~other).sum()), int((other & ~one).sum())
    return float(stats.binomtest(only_one, only_one + only_other).pvalue) if only_one + only_other else 1.0


def correct_holm(values: np.ndarray) -> np.ndarray:
    """Correct the p-values of one family after Holm (1979): float64, (K,). NaN stays NaN and does not count."""
    corrected = np.full(len(values), np.nan)
    order = np.argsort(values)[: int((~np.isnan(values)).sum())]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected
