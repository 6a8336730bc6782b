"""Baselines that deep learning has to beat.

Classification has the majority class and logistic regression on two feature sets. Segmentation has an empty mask and a
grey threshold inside the lungs. They use scikit-learn, scikit-image and SciPy, never TensorFlow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import cv2
import numpy as np
from skimage.feature import hog
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from covbench.models.catalogue import BASELINES
from covbench.models.lungs import find_lungs
from covbench.schema import CLASSIFICATION, CovbenchError

FEATURE_SIDE = 128  # pixels; images are resized to this side before features are computed
HOG_CELL = 16
HISTOGRAM_BINS = 32
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
GRID = 8
LOGISTIC_C = 0.01  # inverse strength of the L2 penalty: there are more features than patients


@dataclass(frozen=True)
class ClassBaseline:
    """A fitted classification baseline.

    frequencies: float64, (C,), the share of each class in training, with sum 1.
    model: None for `majority`.
    """

    name: str
    frequencies: np.ndarray
    model: Pipeline | None


@dataclass(frozen=True)
class MaskBaseline:
    """A fitted segmentation baseline.

    threshold: grey value, 0-255. A pixel of the lungs above it is lesion; at 255 none is.
    lesion: class number of the lesion, 0 if the task has none.
    lungs: class numbers of the lungs from left to right in the image. A single number means both lungs, and none means
        that the task does not mark lungs.
    """

    name: str
    threshold: int
    lesion: int
    lungs: tuple[int, ...]


Baseline = ClassBaseline | MaskBaseline


def fit_baseline(name: str, seen: np.ndarray, labels: np.ndarray, classes: Sequence[str], seed: int = 0) -> Baseline:
    """Fit a baseline of covbench.models.catalogue.BASELINES on training images.

    Args:
        name: name of the baseline.
        seen: what the baseline sees of each image: its features, float32, (N, F), for a name of FEATURES, otherwise the
            image, uint8, (N, H, W), 0-255 grey. `majority` only counts them.
        labels: class numbers: int64, (N,), for classification; uint8 masks, (N, H, W), for segmentation.
        classes: class names in the order of their numbers. For segmentation the first is the background, a name with
            `lung` in it is lung, and all others are lesions.
        seed: seed of the fit.

    Returns:
        The fitted baseline, for predict_baseline.

    Raises:
        CovbenchError: the name is unknown, the training fold is empty, or it holds a single class where two are needed.
    """
    if name not in BASELINES:
        near = get_close_matches(name, BASELINES, n=3, cutoff=0.4) or list(BASELINES)
        raise CovbenchError(f"unknown baseline {name!r}; nearest known: {', '.join(near)}")
    if len(seen) == 0:
        raise CovbenchError(f"{name}: the training fold is empty; check the split")
    if BASELINES[name] == CLASSIFICATION:
        return _fit_classes(name, seen, np.asarray(labels), len(classes), seed)
    return _fit_masks(name, seen, labels, classes)


def predict_baseline(fitted: Baseline, seen: np.ndarray) -> np.ndarray:
    """Predict images. `seen` is what the baseline sees of each, as in fit_baseline.

    Returns probabilities, float32, (N, C), with sum 1 in each row. For segmentation it returns class numbers, uint8,
    (N, H, W).
    """
    if isinstance(fitted, MaskBaseline):
        masks = [_predict_mask(fitted, image) for image in seen]
        return np.stack(masks) if masks else np.zeros(seen.shape, np.uint8)
    probabilities = np.tile(fitted.frequencies, (len(seen), 1))
    if fitted.model is not None and len(seen):
        probabilities[:] = 0.0
        probabilities[:, fitted.model.classes_] = fitted.model.predict_proba(seen)
    return probabilities.astype(np.float32)


def _fit_classes(name: str, features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> ClassBaseline:
    frequencies = np.bincount(labels, minlength=classes) / len(labels)
    if name == "majority":
        return ClassBaseline(name, frequencies, None)
    if np.count_nonzero(frequencies) < 2:
        raise CovbenchError(f"{name}: the training fold holds a single class; check the split")
    return ClassBaseline(name, frequencies, build_logistic(seed).fit(features, labels))


def build_logistic(seed: int) -> Pipeline:
    """Build the regression that the features of an image are given to, unfitted."""
    logistic = LogisticRegression(C=LOGISTIC_C, max_iter=2000, class_weight="balanced", random_state=seed)
    return make_pipeline(StandardScaler(), logistic)


def describe_gradients(images: np.ndarray) -> np.ndarray:
    """Compute histograms of oriented gradients (Dalal and Triggs 2005): 9 orientations, cells of 16 of 128 pixels.

    images: uint8, (N, H, W), 0-255 grey. Returns float32, (N, 1764).
    """
    cells = (HOG_CELL, HOG_CELL)
    found = [hog(_resize(image), orientations=9, pixels_per_cell=cells, cells_per_block=(2, 2)) for image in images]
    return np.asarray(found, np.float32)


def describe_intensities(images: np.ndarray) -> np.ndarray:
    """Compute a histogram, percentiles and the means of an 8 x 8 grid: uint8, (N, H, W) to float32, (N, 103)."""
    return np.asarray([_describe_grey(image) for image in images], np.float32)


def _describe_grey(image: np.ndarray) -> np.ndarray:
    histogram = np.histogram(image, bins=HISTOGRAM_BINS, range=(0, 256))[0] / image.size
    means = cv2.resize(np.ascontiguousarray(image), (GRID, GRID), interpolation=cv2.INTER_AREA)
    return np.concatenate([histogram, np.percentile(image, PERCENTILES), means.ravel()])


def _resize(image: np.ndarray) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(image), (FEATURE_SIDE, FEATURE_SIDE), interpolation=cv2.INTER_AREA)


FEATURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hog_logistic": describe_gradients,
    "intensity_logistic": describe_intensities,
}
"""Baseline -> from uint8, (N, H, W), 0-255 grey, to the features that it sees, float32, (N, F)."""


def _fit_masks(name: str, images: np.ndarray, masks: np.ndarray, classes: Sequence[str]) -> MaskBaseline:
    lung_classes = [number for number, title in enumerate(classes) if number and "lung" in title]
    lesions = [number for number in range(1, len(classes)) if number not in lung_classes]
    if name == "empty_mask" or not lesions:
        return MaskBaseline(name, 255, 0, ())
    counts: Counter[int] = Counter()
    columns: dict[int, list[float]] = {number: [] for number in lung_classes}
    inside, outside = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for image, mask in zip(images, masks, strict=True):
        lungs = find_lungs(image)
        lesion = np.isin(mask, lesions)
        inside += np.bincount(image[lungs & lesion], minlength=256)
        outside += np.bincount(image[lungs & ~lesion], minlength=256)
        counts.update({number: int((mask == number).sum()) for number in lesions})
        for number in lung_classes:
            columns[number] += [float(np.nonzero(mask == number)[1].mean())] if (mask == number).any() else []
    threshold = choose_threshold(inside, outside, sum(counts.values()))
    ordered = sorted(lung_classes, key=lambda number: float(np.mean(columns[number] or [0.0])))
    return MaskBaseline(name, threshold, counts.most_common(1)[0][0], tuple(ordered))


def choose_threshold(inside: np.ndarray, outside: np.ndarray, lesion_pixels: int) -> int:
    """Choose the grey value t for which "brighter than t inside the lungs" has the highest Dice with the lesion.

    Args:
        inside: int64, (256,), the number of lung pixels of each grey value that are lesion.
        outside: int64, (256,), the number of lung pixels of each grey value that are not.
        lesion_pixels: number of all lesion pixels, those outside the found lungs included.

    Returns:
        The grey value, 0-255. If several are equally good it is the middle one. If none finds a lesion it is 255, which
        marks nothing.
    """
    hits = inside.sum() - np.cumsum(inside)
    marked = hits + outside.sum() - np.cumsum(outside)
    scores = 2 * hits / np.maximum(marked + lesion_pixels, 1)
    best = np.flatnonzero(scores == scores.max())
    return int(best[len(best) // 2]) if scores.max() > 0 else 255


def _predict_mask(fitted: MaskBaseline, image: np.ndarray) -> np.ndarray:
    mask = np.zeros(image.shape, np.uint8)
    if fitted.name == "empty_mask":
        return mask
    lungs = find_lungs(image)
    if fitted.lungs:
        columns = np.nonzero(lungs)[1]
        middle = (columns.min() + columns.max() + 1) / 2 if len(columns) else 0
        right_half = np.arange(image.shape[1]) >= middle
        numbers = np.where(right_half, fitted.lungs[-1], fitted.lungs[0])
        mask = np.where(lungs, numbers[None, :], 0).astype(np.uint8)
    mask[lungs & (image > fitted.threshold)] = fitted.lesion
    return mask
