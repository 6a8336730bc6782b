"""Measure where a classifier looks: how much of its Grad-CAM maps lies in the lungs and the lesions of the images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import keras
import numpy as np
import pandas as pd
from scipy import ndimage

from covbench.data.folds import Fold
from covbench.data.lesions import keep_explained
from covbench.data.masks import unpack_masks
from covbench.schema import Column
from covbench.training.classifier_parts import cut_at_features
from covbench.training.gradcam import compute_gradcam, stretch_maps

BATCH = 32  # images that are explained at once
FOCUS_COLUMNS = {
    "image_id": Column("str", "as in the split"),
    "group": Column("str", "as in the split"),
    "seed": Column("int64", "of the run"),
    "truth": Column("int64", "class number"),
    "predicted": Column("int64", "class number; the map explains this class"),
    "region": Column("str", "lungs or lesions"),
    "hit": Column("bool", "whether the largest value of the map lies in the region or half a cell of the map from it"),
    "chance": Column("float64", "share of the image that counts as a hit"),
    "energy": Column("float64", "share of the map's sum in the region"),
    "area": Column("float64", "share of the image that the region takes"),
}
SHOWN = 6
"""Images of each region whose maps are kept: those with the least energy in it."""


@dataclass(frozen=True)
class Looked:
    """Where a classifier looked.

    focus: a row per image and region, FOCUS_COLUMNS but for the seed. maps: by image_id, float32, (h, w).
    """

    focus: pd.DataFrame
    maps: Mapping[str, np.ndarray]


def measure_fold(model: keras.Model, fold: Fold, regions: Mapping[str, Mapping[int, np.ndarray]]) -> Looked:
    """Explain the class that a classifier predicts for each image of a fold, and measure its map in regions.

    Args:
        model: the classifier.
        fold: the images, shown as they are. Augmented copies are left out.
        regions: by name, masks as data.masks.pack_masks packs them, uint8, (H, ceil(W / 8)), by the row of the image in
            the prepared arrays. Images without a mask of a region have no row for it.

    Returns:
        Where the classifier looked.
    """
    rows: list[dict[str, Any]] = []
    kept: dict[str, np.ndarray] = {}
    fold = fold.take(np.flatnonzero((fold.rows["copy"] == 0) & _has_region(fold, regions)))
    for part, classes, maps in explain_fold(model, fold):
        images = part.rows.assign(predicted=classes).to_dict("records")
        for image, position, found in zip(images, part.positions.tolist(), maps, strict=True):
            kept[image["image_id"]] = found
            names = {"image_id": image["image_id"], "group": image["group"]}
            names |= {"truth": image["label"], "predicted": image["predicted"]}
            for name, masks in regions.items():
                if position in masks:
                    mask = unpack_masks(masks[position], fold.images.shape[2])
                    rows.append(names | {"region": name} | measure_map(found, mask))
    return Looked(pd.DataFrame(rows, columns=[name for name in FOCUS_COLUMNS if name != "seed"]), kept)


def _has_region(fold: Fold, regions: Mapping[str, Mapping[int, np.ndarray]]) -> np.ndarray:
    known = set().union(*regions.values())
    return np.array([position in known for position in fold.positions.tolist()], bool)


def explain_fold(model: keras.Model, fold: Fold) -> Iterator[tuple[Fold, np.ndarray, np.ndarray]]:
    """Yield parts of a fold with the class that is predicted for each image, int64, (K,), and its map, (K, h, w)."""
    to_features, to_logits = cut_at_features(model)
    for start in range(0, len(fold), BATCH):
        part = fold.take(np.arange(start, min(start + BATCH, len(fold))))
        grey = part.load_images()[..., None].astype(np.float32)
        features = to_features.predict_on_batch(np.repeat(grey, 3, axis=3))
        classes = np.asarray(to_logits(features, training=False)).argmax(axis=1)
        yield part, classes, compute_gradcam(model, features, classes)


def measure_map(found: np.ndarray, region: np.ndarray) -> dict[str, Any]:
    """Measure how well a map agrees with a region: the columns of FOCUS_COLUMNS from `hit` on.

    `hit` is the pointing game (Zhang et al. 2018, Int. J. Comput. Vis. 126:1084): whether the largest value lies in the
    region, or no farther from it than half a cell of the map, because a map says nothing about less. Zhang et al. allow
    15 pixels, about half a cell of 7 x 7 at 224 pixels. `energy` is the share of the map's sum in the region (Wang et
    al. 2020, "Score-CAM", CVPR Workshops). A map without a positive value hits nothing.

    found: float32, (h, w), 0 and above. region: bool, (H, W), with a pixel that is set.
    """
    height, width = region.shape
    large = cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR)
    cell = max(height / found.shape[0], width / found.shape[1])
    near = ndimage.distance_transform_edt(~region) <= cell / 2
    total = float(large.sum())
    hit = bool(total > 0 and near.flat[int(large.argmax())])
    energy = float(large[region].sum()) / total if total > 0 else 0.0
    return {"hit": hit, "chance": float(near.mean()), "energy": energy, "area": float(region.mean())}


def choose_shown(looked: Looked) -> dict[str, np.ndarray]:
    """Choose the images whose maps agree least with each region.

    Returns by region: `{region}/image_id`, str, (K,), the least energy first; `{region}/energy`, float64, (K,);
    `{region}/map`, uint8, (K, SIDE, SIDE).
    """
    arrays = {}
    for region, rows in keep_explained(looked.focus).groupby("region"):
        least = rows.sort_values(["energy", "image_id"]).head(SHOWN)
        arrays[f"{region}/image_id"] = least["image_id"].to_numpy(str)
        arrays[f"{region}/energy"] = least["energy"].to_numpy()
        arrays[f"{region}/map"] = stretch_maps(np.stack([looked.maps[image] for image in least["image_id"]]))
    return arrays
