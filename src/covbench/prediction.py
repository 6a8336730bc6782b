"""A trained model and a fold -> probabilities or masks, a row per image."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd

from covbench.augmentation import AUGMENTATIONS
from covbench.loading import Batches, Fold
from covbench.protocols import Options


def _batches(fold: Fold, options: Options, seed: int, augment_images: bool) -> Batches:
    augmentation = AUGMENTATIONS[options.augmentation]
    shown = augmentation if augment_images else AUGMENTATIONS["none"]
    return Batches(fold, options.batch_size, seed, augmentation=shown, copies=augmentation)


def predict_probabilities(model: keras.Model, fold: Fold, options: Options, seed: int) -> np.ndarray:
    """Class probabilities of each image: float32, (R, C), each row with sum 1.

    The study's head ends in independent sigmoids; their outputs are divided by their sum, which keeps its argmax.
    """
    raw = model.predict(_batches(fold, options, seed, options.augment_test), verbose=0).astype(np.float64)
    return (raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-12)).astype(np.float32)


def predict_masks(model: keras.Model, fold: Fold, options: Options, seed: int) -> np.ndarray:
    """Most probable class of each pixel: uint8, (R, H, W)."""
    batches = _batches(fold, options, seed, augment_images=False)
    maps = [np.argmax(model.predict_on_batch(batches[i][0]), axis=-1).astype(np.uint8) for i in range(len(batches))]
    return np.concatenate(maps)


def tabulate_predictions(fold: Fold, fold_name: str, seed: int, probabilities: np.ndarray | None) -> pd.DataFrame:
    """Rows as in schema.PREDICTION_COLUMNS, with p_0 … p_{C-1} where probabilities, float, (R, C), are given."""
    table = fold.rows[["image_id", "copy", "patient_id", "source"]].copy()
    table["fold"], table["truth"], table["seed"] = fold_name, fold.labels, seed
    for number in range(0 if probabilities is None else probabilities.shape[1]):
        table[f"p_{number}"] = probabilities[:, number]  # type: ignore[index]
    return table
