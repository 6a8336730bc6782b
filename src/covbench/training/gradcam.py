"""Compute Grad-CAM maps of the cases on which a classifier was most wrong."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from covbench.data.folds import Fold, select_fold
from covbench.models.saved import load_network
from covbench.protocols import Options
from covbench.system.files import write_arrays
from covbench.training.classifier_parts import cut_at_features
from covbench.training.devices import set_precision
from covbench.training.frozen_features import PLAIN, FeatureStore, cut_classifier, stays_frozen

log = logging.getLogger(__name__)

CASES = 40  # per model
BATCH = 8  # images in memory at once: without a graph, every layer's output of a batch is kept until its end
SIDE = 56  # pixels of a map; its content is coarser, because a backbone's last features are 3 to 12 pixels wide


@dataclass(frozen=True)
class ExplainedModel:
    """A trained model to explain.

    folder: of its run. images, rows: paths of images.npy of the prepared arrays of its size, and of rows.parquet beside
    it. options: of the run.
    """

    folder: Path
    images: str
    rows: str
    options: Options


def explain_models(models: Sequence[ExplainedModel], out: Path | str) -> None:
    """Write the Grad-CAM maps of several models of a task to one .npz file.

    For each architecture, the file holds `{architecture}/image_id`, str, (K,), and `{architecture}/map`, uint8,
    (K, SIDE, SIDE), 0-255. A map is for the class that the model predicted. Augmented copies are left out.

    Args:
        models: of different architectures.
        out: path of the .npz file.
    """
    set_precision("float32")
    arrays: dict[str, np.ndarray] = {}
    for explained in models:
        images, rows = np.load(explained.images, mmap_mode="r"), pd.read_parquet(explained.rows)
        cases = choose_worst(pd.read_parquet(explained.folder / "cases.parquet"), CASES)
        shown = cases.assign(fold="test", label=cases["truth"])
        model = load_network(explained.folder / "model.keras")
        fold = select_fold(images, None, rows, shown, "test", model.output_shape[1])
        maps = find_maps(model, load_maps(model, fold, explained.options), cases["predicted"].to_numpy())
        name = explained.folder.parent.name
        arrays |= {f"{name}/image_id": cases["image_id"].to_numpy(str), f"{name}/map": maps}
        keras.backend.clear_session()
        log.info("%s: %d cases", name, len(cases))
    write_arrays(out, arrays)


def choose_worst(cases: pd.DataFrame, number: int) -> pd.DataFrame:
    """Choose the cases whose true class has the lowest predicted probability, the lowest first."""
    probabilities = cases[[f"p_{label}" for label in range(cases.filter(regex=r"^p_\d+$").shape[1])]].to_numpy()
    given = probabilities[np.arange(len(cases)), cases["truth"].to_numpy()]
    return cases.assign(given=given)[cases["copy"] == 0].nsmallest(number, "given")


def load_maps(model: keras.Model, fold: Fold, options: Options) -> np.ndarray:
    """Load the last feature maps of the backbone, for the plain images of a fold.

    If the backbone was never trained and the head flattens its maps, they are the kept features. Otherwise, as where
    the kept features are averages, the backbone runs.

    Args:
        model: the classifier.
        fold: the images.
        options: of the model's run.

    Returns:
        float32, (R, h, w, C).
    """
    if stays_frozen(model, options):
        extractor, _ = cut_classifier(model)
        if isinstance(extractor.layers[-1], keras.layers.Flatten):
            flat = FeatureStore(extractor, fold.images).load(fold, np.arange(len(fold)), PLAIN)
            return flat.reshape(-1, *cut_at_features(model)[0].output_shape[1:])
    return compute_maps(model, fold.load_images())


def compute_maps(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Compute the last feature maps of the backbone for images, uint8, (K, H, W): float32, (K, h, w, C)."""
    before, _ = cut_at_features(model)
    grey = [images[first : first + BATCH, ..., None] for first in range(0, len(images), BATCH)]
    return np.concatenate([before(np.repeat(part, 3, axis=3).astype(np.float32)) for part in grey]).astype(np.float32)


def find_maps(model: keras.Model, features: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Compute Grad-CAM maps of SIDE pixels, with the arguments of compute_gradcam.

    Args:
        model: the classifier.
        features: float32, (K, h, w, C).
        classes: int64, (K,).

    Returns:
        uint8, (K, SIDE, SIDE), 255 where each map is largest.
    """
    return stretch_maps(compute_gradcam(model, features, classes))


def compute_gradcam(model: keras.Model, features: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Compute Grad-CAM maps (Selvaraju et al., "Grad-CAM", ICCV 2017).

    A map is the sum of the backbone's features, weighted by the mean gradient of the class's logit. Negative values are
    set to 0. The gradient of a probability vanishes where it rounds to 1, so that the surest answers would have no map.

    Args:
        model: the classifier.
        features: float32, (K, h, w, C), the last feature maps of its backbone for each image.
        classes: int64, (K,), the class to explain for each image.

    Returns:
        float32, (K, h, w), 0 and above.
    """
    _, to_logits = cut_at_features(model)
    seen = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(seen)
        scores = tf.gather(to_logits(seen, training=False), classes, batch_dims=1)
    weights = tf.reduce_mean(tape.gradient(scores, seen), axis=(1, 2), keepdims=True)
    return np.asarray(tf.nn.relu(tf.reduce_sum(weights * seen, axis=-1)))


def stretch_maps(maps: np.ndarray) -> np.ndarray:
    """Resize maps, float32, (K, h, w), and scale the largest value of each to 255: uint8, (K, SIDE, SIDE)."""
    scaled = [found / max(float(found.max()), 1e-12) for found in maps]
    large = [cv2.resize(found, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for found in scaled]
    return np.round(255 * np.reshape(large, (-1, SIDE, SIDE))).clip(0, 255).astype(np.uint8)
