"""AUROC and average precision in every bootstrap draw: images are ranked once and counted anew in each draw.

Only ranks that hold an image of the class add to a score. So images are counted from one such rank to the next, by a
product of a sparse matrix with the draws, and a few ranks at a time. Nothing of the size of images x draws is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from covbench.evaluation.ratios import divide

RANKS = 64
"""Ranks that are counted at once, so that their sums stay in the processor's cache."""


@dataclass(frozen=True)
class RankedImages:
    """The images of a test fold, ranked by their probability of a class.

    ranks: uint16, (2 K, P) each, K at most RANKS: a pair of rows per rank that holds an image of the class, from the
        highest probability on. The first row counts the images of the class at this rank by their group. The second
        one counts all others since the rank before. The last pair counts what is left.
    ties: the same for the ranks that images of the class share with others, with only these others.
    """

    ranks: Sequence[csr_array]
    ties: Sequence[csr_array]


def rank_images(is_class: np.ndarray, scores: np.ndarray, codes: np.ndarray, groups: int) -> RankedImages:
    """Rank images by their probability of a class.

    Args:
        is_class: bool, (N,), whether each image is of the class.
        scores: float, (N,), the model's probability of the class.
        codes: int64, (N,), the group of each image, 0 to P - 1.
        groups: number of groups P.

    Returns:
        The ranked images.
    """
    level = rank_scores(scores)
    held = np.unique(level[is_class])
    shared = np.intersect1d(held, level[~is_class])
    tied = np.isin(level, shared)
    pairs = np.searchsorted(held, level), np.searchsorted(shared, level[tied])
    return RankedImages(
        list(_cut_pairs(pairs[0], is_class, codes, (len(held) + 1, groups))),
        list(_cut_pairs(pairs[1], is_class[tied], codes[tied], (len(shared), groups))),
    )


def rank_scores(scores: np.ndarray) -> np.ndarray:
    """Rank scores, 0 for the highest, 1 for the next distinct one, and so on: int64, (N,)."""
    return np.unique(-scores, return_inverse=True)[1]


def score_ranks(images: RankedImages, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute AUROC (ties count half) and average precision (a step per distinct score) in each draw.

    Args:
        images: the ranked images.
        weights: unsigned integers, (P, B), how often each group is drawn. Their type holds the number of images in any
            draw.

    Returns:
        AUROC and average precision, float64, (B,) each, NaN where undefined. They are exact to about 1e-7.
    """
    draws = weights.shape[1]
    counted = np.zeros(2 * draws, weights.dtype)
    misplaced, precision = np.zeros((2, draws))
    for piece in images.ranks:
        found = _count(piece, weights)
        hits = found[::2].astype(np.float32)
        rows = found.reshape(-1, 2 * draws)
        for row in rows:
            row += counted
            counted = row
        above, below = rows[:, :draws].astype(np.float32), rows[:, draws:].astype(np.float32)
        misplaced += np.einsum("kb,kb->b", hits, below)
        called = np.add(above, below, out=below)
        if not called[0].all():
            np.maximum(called, 1, out=called)
        precision += np.einsum("kb,kb->b", hits, np.divide(above, called, out=above))
    for piece in images.ties:
        found = _count(piece, weights).astype(np.float32)
        misplaced -= np.einsum("kb,kb->b", found[::2], found[1::2]) / 2
    inside, others = counted.reshape(2, draws).astype(np.float64)
    return divide(inside * others - misplaced, inside * others), divide(precision, inside)


def _cut_pairs(
    pairs: np.ndarray, is_class: np.ndarray, codes: np.ndarray, shape: tuple[int, int]
) -> Iterator[csr_array]:
    """Cut the pairs of rows of RankedImages into pieces. pairs: int64, (N,). shape: number of pairs and of groups."""
    rows = 2 * pairs + ~is_class
    counts = csr_array((np.ones(len(rows), np.uint16), (rows, codes)), (2 * shape[0], shape[1]))
    return (counts[start : start + 2 * RANKS] for start in range(0, 2 * shape[0], 2 * RANKS))


def _count(images: csr_array, weights: np.ndarray) -> np.ndarray:
    counted: np.ndarray = images.astype(weights.dtype, copy=False) @ weights
    return counted
