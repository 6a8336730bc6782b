"""Predict a fold with a trained model: probabilities or masks, a row per image."""

from __future__ import annotations

import functools

import keras
import numpy as np

from covbench.data.augmentation import AUGMENTATIONS
from covbench.data.folds import ClassMaps, Fold, Predicted
from covbench.protocols import Options
from covbench.training.batches import Batches
from covbench.training.classifier_parts import show_logits
from covbench.training.frozen_features import FeatureBatches, FeatureStore, cut_classifier, show_test, stays_frozen

ROUNDED_HEAD = "pooled_logits"  # the head whose logits the study rounded to score it
_cut_once = functools.lru_cache(maxsize=1)(cut_classifier)  # a head's graph is traced once for all folds and seeds
MAJORITY = 0.5  # the study's threshold: a pixel belongs to a class with more than this probability


def predict_fold(model: keras.Model, fold: Fold, name: str, options: Options, seed: int) -> Predicted:
    """Predict a fold, with the images shown as the protocol shows those of a test fold.

    Args:
        model: trained; raw 0-255 RGB in, probabilities out.
        fold: the images.
        name: of the fold.
        options: of the run.
        seed: of the run.

    Returns:
        What was predicted, with logits if the study rounded those of the head.
    """
    if fold.masks is not None:
        return Predicted(fold, name, seed, predict_masks(model, fold, options, seed))
    return Predicted(fold, name, seed, *predict_classes(model, fold, options, seed))


def predict_classes(
    model: keras.Model, fold: Fold, options: Options, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Predict the class probabilities of each image, and its logits if the study rounded those of the head.

    If the backbone was never trained, its features are computed once per image, and only the head predicts. The study's
    head for two classes ends in two sigmoids. They are divided by their sum, which keeps the argmax.

    Args:
        model: a trained classifier.
        fold: the images.
        options: of the run.
        seed: of the run.

    Returns:
        Probabilities, each row with sum 1, and logits or None: float32, (R, C) each.
    """
    network, batches = _prepare(model, fold, options, seed)
    logits = None
    if options.head == ROUNDED_HEAD:
        raw, logits = show_logits(network).predict(batches, verbose=0)
    else:
        raw = network.predict(batches, verbose=0)
    return divide_by_sum(raw), logits


def divide_by_sum(raw: np.ndarray) -> np.ndarray:
    """Divide what a head answers, float32, (R, C), by the sum of each row: float32, (R, C)."""
    exact = raw.astype(np.float64)
    return (exact / np.maximum(exact.sum(axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _prepare(model: keras.Model, fold: Fold, options: Options, seed: int) -> tuple[keras.Model, Batches]:
    """Return the network that predicts, and its batches: the whole model and images, or its head and features."""
    view = show_test(options, seed)
    if stays_frozen(model, options):
        extractor, head = _cut_once(model)
        return head, FeatureBatches(FeatureStore(extractor, fold.images), view, fold, options.batch_size, seed)
    return model, Batches(fold, options.batch_size, seed, augmentation=AUGMENTATIONS[view.augmentation])


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
    batches = Batches(fold, options.batch_size, seed)
    maps = [_read_maps(model.predict_on_batch(batches[i][0])) for i in range(len(batches))]
    return ClassMaps(*map(np.concatenate, zip(*maps, strict=True)))


def _read_maps(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert probabilities, (B, H, W, C), to the two arrays of ClassMaps."""
    numbers = np.argmax(probabilities, axis=-1).astype(np.uint8)
    return numbers, np.packbits(probabilities.max(axis=-1) <= MAJORITY, axis=-1)
