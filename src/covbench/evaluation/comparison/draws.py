"""Draw groups of images with replacement, in blocks whose memory does not grow with groups or draws."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

DRAWS = 10_000
SEED = 0
BLOCK = 2000
"""Draws that share a seed: SEED, SEED + BLOCK, … Another number makes other draws."""
CELLS = 2**24
"""Most groups x draws that are counted at once: 32 MiB. Another number makes the same draws."""

ROWS = 1024
"""Groups whose images are added up at once, so that no second block of draws is made."""


def draw_blocks(groups: int, first_seed: int = SEED) -> Iterator[np.ndarray]:
    """Yield DRAWS draws in blocks of at most CELLS counts, each as draw_groups returns it.

    groups: number of groups P. first_seed: seed of the first BLOCK draws.
    """
    parts = -(-groups * BLOCK // CELLS)
    for start in range(0, DRAWS, BLOCK):
        rng = np.random.default_rng(first_seed + start)
        for part in np.array_split(np.arange(BLOCK), parts):
            yield _count_draws(rng, groups, len(part))


def draw_groups(groups: int, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """Draw groups with replacement, and count how often each is drawn.

    Args:
        groups: number of groups P.
        draws: number of bootstrap draws B.
        seed: seed of the draws.

    Returns:
        uint16, (P, B), each column with sum P.
    """
    return _count_draws(np.random.default_rng(seed), groups, draws)


def _count_draws(rng: np.random.Generator, groups: int, draws: int) -> np.ndarray:
    counts = np.empty((draws, groups), np.uint16)
    for row in counts:
        row[:] = np.bincount(rng.integers(0, groups, groups), minlength=groups)
    return np.ascontiguousarray(counts.T)


def fit_counts(weights: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return draws in the narrowest type that can count the images of every draw.

    Args:
        weights: whole numbers, (P, B), how often each group is drawn.
        sizes: int64, (P,), the number of images of each group.

    Returns:
        uint16 or uint32, (P, B).
    """
    images = np.zeros(weights.shape[1], np.float32)
    for start in range(0, len(weights), ROWS):
        rows = slice(start, start + ROWS)
        images += sizes[rows].astype(np.float32) @ weights[rows]
    return weights.astype(np.uint16 if images.max() <= np.iinfo(np.uint16).max else np.uint32, copy=False)
