"""Predict a fold with a trained model: probabilities or masks, a row per image."""

from __future__ import annotations

import keras
import numpy as np

from covbench.data.augmentation import AUGMENTATIONS
from covbench.data.folds import ClassMaps, Fold
from covbench.protocols import Options
from covbench.training.batches import Batches

MAJORITY = 0.5  # the study's threshold: a pixel belongs to a class with more than this probability


def predict_fold(model: keras.Model, fold: Fold, options: Options, seed: int) -> np.ndarray | ClassMaps:
    """Predict a fold, with the images shown as the protocol shows those of a test fold.

    Args:
        model: trained; raw 0-255 RGB in, probabilities out.
        fold: the images.
        options: of the run.
        seed: of the run.

    Returns:
        Probabilities, float32, (R, C), or class maps if pixels are labelled.
    """
    return (predict_probabilities if fold.masks is None else predict_masks)(model, fold, options, seed)


def _batches(fold: Fold, options: Options, seed: int, augmentation: str = "none") -> Batches:
    return Batches(fold, options.batch_size, seed, augmentation=AUGMENTATIONS[augmentation])


def predict_probabilities(model: keras.Model, fold: Fold, options: Options, seed: int) -> np.ndarray:
    """Predict the class probabilities of each image.

    The study's head ends in independent sigmoids. Their outputs are divided by their sum, which keeps the argmax.

    Args:
        model: a trained classifier.
        fold: the images.
        options: of the run.
        seed: of the run.

    Returns:
        float32, (R, C), each row with sum 1.
    """
    shown = options.augmentation if options.augment_test else "none"
    raw = model.predict(_batches(fold, options, seed, shown), verbose=0).astype(np.float64)
    return (raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-12)).astype(np.float32)


def predict_masks(model: keras.Model, fold: Fold, options: Options, seed: int) -> ClassMaps:
    """Predict the most probable class of each pixel, and whether it has more than half the probability.

    Args:
        model: a trained segmenter.
        fold: the images.
        options: of the run.
        seed: of the run.

    Returns:
        The class maps of all rows.
    """
    batches = _batches(fold, options, seed)
    maps = [_read_maps(model.predict_on_batch(batches[i][0])) for i in range(len(batches))]
    return ClassMaps(*map(np.concatenate, zip(*maps, strict=True)))


def _read_maps(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert probabilities, (B, H, W, C), to the two arrays of ClassMaps."""
    numbers = np.argmax(probabilities, axis=-1).astype(np.uint8)
    return numbers, np.packbits(probabilities.max(axis=-1) <= MAJORITY, axis=-1)
