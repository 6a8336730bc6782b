"""Shapes and textures that the synthetic datasets share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy


@dataclass(frozen=True)
class Pose:
    """How a patient is placed in one picture.

    right, down: shifts in half widths of the image.
    zoom: a factor.
    angle: radians.
    """

    right: float = 0.0
    down: float = 0.0
    zoom: float = 1.0
    angle: float = 0.0


def draw_pose(rng: np.random.Generator, spread: float) -> Pose:
    """Draw a random small pose; `spread` is the standard deviation of shift, zoom and angle."""
    right, down, zoom, angle = rng.normal(0.0, spread, 4)
    return Pose(right, down, 1.0 + zoom, angle)


def coordinates(size: int, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Return x (to the right) and y (down) of every pixel, -1 to 1 at the borders: float64, (size, size) each."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    x, y = (x - pose.right) / pose.zoom, (y - pose.down) / pose.zoom
    cos, sin = np.cos(pose.angle), np.sin(pose.angle)
    return x * cos + y * sin, y * cos - x * sin


def move(picture: np.ndarray, pose: Pose) -> np.ndarray:
    """Move a centred picture, (size, size), to another pose. Pixels that enter it repeat the border."""
    x, y = coordinates(len(picture), pose)
    positions = (np.stack([y, x]) + 1.0) * (0.5 * (len(picture) - 1))
    return scipy.ndimage.map_coordinates(picture, positions, order=1, mode="nearest")


def inside(distance: np.ndarray, softness: float) -> np.ndarray:
    """Return 1 where `distance` is negative and 0 where it is positive, with an edge about `softness` wide."""
    return 0.5 - 0.5 * np.tanh(distance / softness)


def radius(
    x: np.ndarray, y: np.ndarray, centre: tuple[float, float], axes: tuple[float, float], angle: float = 0.0
) -> np.ndarray:
    """Measure the distance of pixels from an ellipse's centre, in units of its half axes.

    Args:
        x: float64, (H, W), as coordinates returns it.
        y: float64, (H, W), as coordinates returns it.
        centre: x and y of the centre, in half widths of the image.
        axes: half axes, in half widths of the image.
        angle: rotation of the ellipse, in radians.

    Returns:
        float64, (H, W): 0 at the centre, 1 on the outline.
    """
    cos, sin = np.cos(angle), np.sin(angle)
    dx, dy = x - centre[0], y - centre[1]
    return np.hypot((dx * cos + dy * sin) / axes[0], (dy * cos - dx * sin) / axes[1])


def segment(
    x: np.ndarray, y: np.ndarray, start: tuple[float, float], end: tuple[float, float], width: float
) -> np.ndarray:
    """Draw a line with a Gaussian profile.

    Args:
        x: float64, (H, W), as coordinates returns it.
        y: float64, (H, W), as coordinates returns it.
        start: x and y of one end, in half widths of the image.
        end: x and y of the other end, in half widths of the image.
        width: standard deviation of the profile, in half widths of the image.

    Returns:
        float64, (H, W), 0-1: 1 on the line.
    """
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = ((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy)
    along = np.clip(along, 0.0, 1.0)
    across = (x - start[0] - along * dx) ** 2 + (y - start[1] - along * dy) ** 2
    return np.exp(-0.5 * across / width**2)


def smooth_noise(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """Make noise of mean 0 and standard deviation 1.

    Args:
        rng: the generator to draw from.
        size: side of the picture, in pixels.
        scale: size of the lumps, in pixels.

    Returns:
        float32, (size, size).
    """
    noise = scipy.ndimage.gaussian_filter(rng.normal(size=(size, size)).astype(np.float32), scale, mode="wrap")
    return (noise - noise.mean()) / noise.std()


def vessels(
    rng: np.random.Generator,
    x: np.ndarray,
    y: np.ndarray,
    root: tuple[float, float],
    reach: tuple[float, float],
    count: int,
    width: float,
) -> np.ndarray:
    """Draw streaks that fan out from a root and thin out on the way, as lung vessels do.

    Args:
        rng: the generator to draw from.
        x: float64, (H, W), as coordinates returns it.
        y: float64, (H, W), as coordinates returns it.
        root: x and y of the root, in half widths of the image.
        reach: horizontal and vertical length of the longest streak. A negative length points left or up.
        count: number of streaks.
        width: standard deviation of the profile at the root, in half widths of the image.

    Returns:
        float64, (H, W), 0-1: 1 on a streak.
    """
    streaks = np.zeros_like(x)
    for _ in range(count):
        turn, length = rng.uniform(-1.4, 1.4), rng.uniform(0.45, 1.0)
        middle = (root[0] + 0.5 * length * reach[0] * np.cos(turn), root[1] + 0.5 * length * reach[1] * np.sin(turn))
        turn += rng.normal(0.0, 0.25)
        end = (root[0] + length * reach[0] * np.cos(turn), root[1] + length * reach[1] * np.sin(turn))
        streaks = np.maximum(streaks, segment(x, y, root, middle, width))
        streaks = np.maximum(streaks, 0.7 * segment(x, y, middle, end, 0.65 * width))
    return streaks
