"""Compute Grad-CAM maps of the cases on which a classifier was most wrong."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from covbench.models.saved import load_network
from covbench.system.files import write_whole
from covbench.training.classifier_parts import cut_at_features

log = logging.getLogger(__name__)

CASES = 40  # per model
SIDE = 56  # pixels of a map; its content is coarser, because a backbone's last features are 3 to 12 pixels wide


def explain_models(
    folders: Sequence[str], images_paths: Sequence[str], rows_paths: Sequence[str], out: Path | str
) -> None:
    """Write the Grad-CAM maps of several models of a task to one .npz file.

    For each architecture, the file holds `{architecture}/image_id`, str, (K,), and `{architecture}/map`, uint8,
    (K, SIDE, SIDE), 0-255. A map is for the class that the model predicted. Augmented copies are left out.

    Args:
        folders: folder of each model's run.
        images_paths: images.npy of the prepared arrays of each model's size.
        rows_paths: rows.parquet beside each.
        out: path of the .npz file.
    """
    arrays: dict[str, np.ndarray] = {}
    for folder, images_path, rows_path in zip(map(Path, folders), images_paths, rows_paths, strict=True):
        images, rows = np.load(images_path, mmap_mode="r"), pd.read_parquet(rows_path)
        position = {image: position for position, image in enumerate(rows["image_id"])}
        cases = choose_worst(pd.read_parquet(folder / "cases.parquet"), CASES)
        shown = np.stack([images[position[image]] for image in cases["image_id"]])
        model = load_network(folder / "model.keras")
        maps = find_maps(model, shown, cases["predicted"].to_numpy())
        name = folder.parent.name
        arrays |= {f"{name}/image_id": cases["image_id"].to_numpy(str), f"{name}/map": maps}
        keras.backend.clear_session()
        log.info("%s: %d cases", name, len(cases))
    with write_whole(out) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def choose_worst(cases: pd.DataFrame, number: int) -> pd.DataFrame:
    """Choose the cases whose true class has the lowest predicted probability, the lowest first."""
    probabilities = cases[[f"p_{label}" for label in range(cases.filter(regex=r"^p_\d+$").shape[1])]].to_numpy()
    given = probabilities[np.arange(len(cases)), cases["truth"].to_numpy()]
    return cases.assign(given=given)[cases["copy"] == 0].nsmallest(number, "given")


def find_maps(model: keras.Model, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Compute Grad-CAM maps (Selvaraju et al., "Grad-CAM", ICCV 2017).

    A map is the sum of the backbone's features, weighted by the mean gradient of the class's logit. Negative values are
    set to 0. The gradient of a probability vanishes where it rounds to 1, so that the surest answers would have no map.

    Args:
        model: the classifier.
        images: uint8, (K, H, W), 0-255.
        classes: int64, (K,), the class to explain for each image.

    Returns:
        uint8, (K, SIDE, SIDE), 255 where each map is largest.
    """
    before, to_logits = cut_at_features(model)
    maps = []
    for image, number in zip(images, classes, strict=True):
        features = tf.cast(before(np.repeat(image[None, ..., None], 3, axis=3).astype(np.float32)), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(features)
            score = to_logits(features, training=False)[:, number]
        weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
        maps.append(_stretch(tf.nn.relu(tf.reduce_sum(weights * features, axis=-1))[0].numpy()))
    return np.stack(maps)


def _stretch(found: np.ndarray) -> np.ndarray:
    """Resize a map to SIDE pixels and scale its largest value to 255."""
    large = cv2.resize(found / max(float(found.max()), 1e-12), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.round(255 * large).clip(0, 255).astype(np.uint8)
