"""Features of a frozen backbone: computed once per image and view, kept by content for all heads, seeds and tests.

docs/explanation/decisions/007-augmented-views-of-a-frozen-backbone.md says why there are views and what they cost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from covbench.data import augmentation as augmentation_module
from covbench.data.augmentation import AUGMENTATIONS
from covbench.data.folds import Fold
from covbench.experiment.provenance import installed_packages
from covbench.protocols import Options
from covbench.system.content_hashes import hash_array
from covbench.system.files import hash_file
from covbench.system.row_store import FOLDER, RowFile, open_folder
from covbench.training import batches as batches_module
from covbench.training import feature_extraction as extraction_module
from covbench.training.batches import Batches
from covbench.training.feature_extraction import Extraction, describe_extraction, prepare_extraction

VIEW_SEED = 2**40  # no run has this seed: a view looks the same in all of them

_WEIGHTLESS = (layers.Flatten, layers.GlobalAveragePooling2D)


def has_backbone(model: keras.Model) -> bool:
    """Whether a model has a pretrained part on which a head can be trained (covbench.models.classifier)."""
    return "backbone" in {layer.name for layer in model.layers}


def stays_frozen(model: keras.Model, options: Options) -> bool:
    """Whether a run of these options never changes the pretrained part of its model."""
    return options.fine_tune_epochs == 0 and has_backbone(model)


def cut_classifier(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut a classifier with a frozen backbone into the part that never changes and the rest. Both share its layers.

    The first part maps raw images, (B, H, W, 3), 0-255, to features. The head decides whether these are flattened maps,
    (B, h * w * C), or averages, (B, C). The second part maps features to probabilities, (B, classes).
    """
    head = model.get_layer("head").layers
    fixed = list(takewhile(lambda layer: isinstance(layer, _WEIGHTLESS), head))
    x = images = keras.Input(model.input_shape[1:], dtype="float32")
    for layer in [*model.layers[1:-1], *fixed]:
        x = layer(x)
    y = features = keras.Input(x.shape[1:], dtype="float32")
    for layer in head[len(fixed) :]:
        y = layer(y)
    return keras.Model(images, x, name="extractor"), keras.Model(features, y, name="head_on_features")


def feature_dtype(extractor: keras.Model) -> np.dtype:
    """Return the dtype of kept features: float32 for averages, float16 for whole maps, which have more numbers."""
    averaged = isinstance(extractor.layers[-1], layers.GlobalAveragePooling2D)
    return np.dtype(np.float32 if averaged else np.float16)


def count_feature_bytes(model: keras.Model, train: int, val: int, views: int) -> int:
    """Count the bytes on disk that the features of a classifier take.

    Args:
        model: the classifier.
        train: number of training images. Their features are kept for each view.
        val: number of validation images, or of all that are shown plainly. Their features are kept once.
        views: number of augmented views.

    Returns:
        The number of bytes.
    """
    extractor, _ = cut_classifier(model)
    return (train * views + val) * extractor.output_shape[1] * feature_dtype(extractor).itemsize


class View(NamedTuple):
    """How images are shown: by an augmentation of covbench.data.augmentation.AUGMENTATIONS, drawn from seed and number.

    number: counts the views of an image from 0 on. seed: of the run that draws the view; VIEW_SEED for a view that all
    runs share.
    """

    augmentation: str
    number: int = 0
    seed: int = VIEW_SEED

    def __str__(self) -> str:
        return f"{self.augmentation}_{self.number}" + ("" if self.seed == VIEW_SEED else f"_seed_{self.seed}")


PLAIN = View("none")


def show_test(options: Options, seed: int) -> View:
    """Return the view in which a run's protocol shows test images: plain, or augmented as the run's seed draws it."""
    return View(options.augmentation, 0, seed) if options.augment_test else PLAIN


class FeatureStore:
    """Features of the images of one prepared array, on disk below `root`. Each view has a file, filled on demand.

    Neither the order of the requests nor the process that computes a feature changes a bit of it.
    """

    def __init__(self, extractor: keras.Model, images: np.ndarray, root: Path = FOLDER) -> None:
        """Open the store. `images` is the prepared array of all folds that are loaded later, uint8, (N, H, W)."""
        self.width, self.dtype = extractor.output_shape[1], feature_dtype(extractor)
        self.network = describe_network(extractor)
        self.folder = open_folder(root, {**self.network, "images": hash_array(images)})
        self.largest = np.finfo(self.dtype).max
        self._extractor = extractor
        self._files: dict[View, RowFile] = {}

    @cached_property
    def _extract(self) -> Extraction:
        return prepare_extraction(self._extractor, json.dumps(self.network, sort_keys=True))

    def load(self, fold: Fold, chosen: np.ndarray, view: View) -> np.ndarray:
        """Load the features of some rows of a fold, and compute those that are not kept yet.

        Args:
            fold: a fold of the prepared array.
            chosen: int64, (B,), rows of the fold.
            view: how the images are shown.

        Returns:
            float32, (B, F).
        """
        if view not in self._files:
            self._files[view] = RowFile(self.folder / str(view), self.width, self.dtype)

        def compute(left: np.ndarray) -> np.ndarray:
            features = self._extract(_show(fold, chosen[left], view))
            return np.clip(features, -self.largest, self.largest)

        return self._files[view].load(fold.slots[chosen], fold.keys[chosen], compute).astype(np.float32)


def _show(fold: Fold, rows: np.ndarray, view: View) -> np.ndarray:
    images, _ = Batches(fold, len(fold), view.seed, view.number, AUGMENTATIONS[view.augmentation]).load(rows)
    return images


class FeatureBatches(Batches):
    """The same batches with features instead of images: x float32, (B, F); y one-hot float32, (B, C).

    view: how the images are shown. Seed and epoch do not change it.
    """

    def __init__(
        self,
        store: FeatureStore,
        view: View,
        fold: Fold,
        batch_size: int,
        seed: int,
        epoch: int = 0,
        shuffle: bool = False,
        first: int = 0,
        micro_batches: int = 1,
    ) -> None:
        super().__init__(fold, batch_size, seed, epoch, shuffle=shuffle, first=first, micro_batches=micro_batches)
        self.store, self.view = store, view

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self.chosen[number]
        return self.store.load(self.fold, chosen, self.view), self._targets(chosen, None)


def describe_network(extractor: keras.Model) -> dict[str, Any]:
    """Describe everything that decides the bits of a feature, except its image and view, in plain JSON values."""
    weights = hashlib.sha256()
    for value in extractor.get_weights():
        weights.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).data)
    modules = (augmentation_module.__file__, batches_module.__file__, extraction_module.__file__, __file__)
    return {
        "weights": weights.hexdigest(),
        "layers": [[type(layer).__name__, _settings(layer)] for layer in _flatten(extractor)],
        "dtype": str(feature_dtype(extractor)),
        "code": [hash_file(Path(str(path))) for path in modules],
        "packages": installed_packages(),
        "extraction": describe_extraction(),
    }


def _flatten(model: keras.Model) -> Iterator[layers.Layer]:
    for layer in model.layers:
        yield from _flatten(layer) if isinstance(layer, keras.Model) else [layer]


def _settings(layer: layers.Layer) -> dict[str, str]:
    """Return a layer's settings as JSON, without those that change in training or depend on earlier layers.

    JSON writes tuples as lists, as which a saved model brings them back.
    """
    kept = {key: value for key, value in layer.get_config().items() if key not in ("name", "trainable")}
    return {key: json.dumps(value, default=str) for key, value in kept.items()}
