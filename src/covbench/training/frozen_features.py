"""Features of a frozen backbone: computed once per image and view, kept by content for every head, seed and epoch.

docs/explanation/decisions/007-augmented-views-of-a-frozen-backbone.md says why there are views and what they cost.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from io import FileIO
from itertools import takewhile
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from covbench.data import augmentation as augmentation_module
from covbench.data.augmentation import AUGMENTATIONS
from covbench.data.folds import Fold
from covbench.experiment.provenance import installed_packages
from covbench.system.content_hashes import hash_content
from covbench.system.disk import explain_full_disk, show_bytes
from covbench.system.files import hash_file, write_json
from covbench.training import batches as batches_module
from covbench.training.batches import Batches
from covbench.training.feature_extraction import Extraction, describe_extraction, prepare_extraction

log = logging.getLogger(__name__)

FOLDER = Path("checkpoints") / "features"
SPARE_BYTES = 5 * 10**9  # left free for models and states, which cannot be computed again as features can
VIEW_SEED = 2**40  # no run has this seed: a view looks the same in all of them

_MARK = struct.Struct("<II")
_WEIGHTLESS = (layers.Flatten, layers.GlobalAveragePooling2D)


def has_backbone(model: keras.Model) -> bool:
    """Whether a model has a pretrained part on which a head can be trained (covbench.models.classifier)."""
    return "backbone" in {layer.name for layer in model.layers}


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
        val: number of validation images. Their features are kept once.
        views: number of augmented views.

    Returns:
        The number of bytes.
    """
    extractor, _ = cut_classifier(model)
    return (train * views + val) * extractor.output_shape[1] * feature_dtype(extractor).itemsize


class FeatureStore:
    """Features of the images of one prepared array, on disk below `root`. Each view has a file, filled on demand.

    Several processes may use the same store. Each computes what no other process is computing, and reads the rest.
    Neither the order of the requests nor the process that computes a feature changes a bit of it.
    """

    def __init__(self, extractor: keras.Model, images: np.ndarray, root: Path = FOLDER) -> None:
        """Open the store. `images` is the prepared array of all folds that are loaded later, uint8, (N, H, W)."""
        self.width, self.dtype = extractor.output_shape[1], feature_dtype(extractor)
        content = describe_content(extractor, images)
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        self.folder = root / digest[:24]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "content.json", content)
        self.largest = np.finfo(self.dtype).max
        self._extractor = extractor
        self._files: dict[str, _ViewFile] = {}
        self._warned = False

    @cached_property
    def _extract(self) -> Extraction:
        return prepare_extraction(self._extractor)

    def load(self, fold: Fold, chosen: np.ndarray, augmentation: str, view: int) -> np.ndarray:
        """Load the features of some rows of a fold, and compute those that are not kept yet.

        Args:
            fold: a fold of the prepared array.
            chosen: int64, (B,), rows of the fold.
            augmentation: a name of covbench.data.augmentation.AUGMENTATIONS.
            view: number of the augmented view, from 0 on.

        Returns:
            float32, (B, F).
        """
        file = self._open(f"{augmentation}_{view}")
        positions = (fold.positions + len(fold.images) * fold.copies)[chosen].tolist()
        rows = dict(zip(positions, chosen, strict=True))
        keys = {position: int(fold.keys[row]) for position, row in rows.items()}
        found = file.read(keys)
        for wait in (False, True):  # first what no other process is computing, then what others have computed
            missing = sorted(keys.keys() - found.keys())
            with file.claim(missing, wait) as claimed:
                found |= file.read({position: keys[position] for position in claimed})
                if left := [position for position in claimed if position not in found]:
                    images = _show(fold, np.array([rows[position] for position in left]), augmentation, view)
                    computed = np.clip(self._extract(images), -self.largest, self.largest).astype(self.dtype)
                    new = dict(zip(left, computed, strict=True))
                    self._keep(file, keys, new)
                    found |= new
        return np.stack([found[position] for position in positions]).astype(np.float32)

    def _open(self, name: str) -> _ViewFile:
        if name not in self._files:
            self.folder.mkdir(parents=True, exist_ok=True)  # deleted since
            self._files[name] = _ViewFile(self.folder / name, self.width, self.dtype)
        return self._files[name]

    def _keep(self, file: _ViewFile, keys: Mapping[int, int], features: Mapping[int, np.ndarray]) -> None:
        if file.count_free_bytes() < SPARE_BYTES:
            if not self._warned:
                log.warning("less than %s free: features are not kept, so training is slower", show_bytes(SPARE_BYTES))
            self._warned = True
            return
        with explain_full_disk(self.folder, f"features; {FOLDER} may be deleted at any time"):
            file.write(keys, features)


def _show(fold: Fold, rows: np.ndarray, augmentation: str, view: int) -> np.ndarray:
    images, _ = Batches(fold, len(rows), VIEW_SEED, view, AUGMENTATIONS[augmentation]).load(rows)
    return images


class _ViewFile:
    """Features of one view on disk: a file with a row per image, and a file with a mark for each row that is filled.

    A mark holds the image's key and the CRC-32 of its features. A row that was half written, or damaged since, does not
    match its mark and counts as not filled.
    """

    def __init__(self, path: Path, width: int, dtype: np.dtype) -> None:
        self.width, self.dtype = width, dtype
        self.row_bytes = width * dtype.itemsize
        self.data, self.marks = (_open(path.with_suffix(suffix)) for suffix in (".features", ".marks"))

    def count_free_bytes(self) -> int:
        """Count the free bytes on the disk of these files. This works even after the files are deleted."""
        disk = os.fstatvfs(self.data.fileno())
        return disk.f_bavail * disk.f_frsize

    def read(self, keys: Mapping[int, int]) -> dict[int, np.ndarray]:
        """Read the rows that are filled with the image of the given key, by position: (width,)."""
        found = {}
        for position, key in keys.items():
            mark = os.pread(self.marks.fileno(), _MARK.size, position * _MARK.size)
            if mark != bytes(len(mark)):
                row = os.pread(self.data.fileno(), self.row_bytes, position * self.row_bytes)
                if mark == _MARK.pack(key, zlib.crc32(row)):
                    found[position] = np.frombuffer(row, self.dtype)
        return found

    def write(self, keys: Mapping[int, int], features: Mapping[int, np.ndarray]) -> None:
        """Write rows, and the mark of each after it."""
        for position, row in features.items():
            data = row.tobytes()
            _write_at(self.data, data, position * self.row_bytes)
            _write_at(self.marks, _MARK.pack(keys[position], zlib.crc32(data)), position * _MARK.size)

    @contextmanager
    def claim(self, positions: Sequence[int], wait: bool) -> Iterator[list[int]]:
        """Lock positions, in ascending order. Those that other processes hold are waited for or left out.

        The kernel frees the locks when this process ends, even if it is killed.
        """
        claimed = []
        try:
            for position in positions:
                try:
                    fcntl.lockf(self.marks, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, position * _MARK.size)
                except (BlockingIOError, PermissionError):
                    continue
                claimed.append(position)
            yield claimed
        finally:
            for position in claimed:
                fcntl.lockf(self.marks, fcntl.LOCK_UN, 1, position * _MARK.size)


def _open(path: Path) -> FileIO:
    """Open an existing or new file for reading and writing at any position."""
    return FileIO(path, "r+", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o666))


def _write_at(file: FileIO, data: bytes, offset: int) -> None:
    rest = memoryview(data)
    while rest:
        written = os.pwrite(file.fileno(), rest, offset)
        rest, offset = rest[written:], offset + written


class FeatureBatches(Batches):
    """The same batches with features instead of images: x float32, (B, F); y one-hot float32, (B, C).

    view: the augmented view of the images, as name of the augmentation and number. Seed and epoch do not change it.
    """

    def __init__(
        self,
        store: FeatureStore,
        view: tuple[str, int],
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
        return self.store.load(self.fold, chosen, *self.view), self._targets(chosen, None)


def describe_content(extractor: keras.Model, images: np.ndarray) -> dict[str, Any]:
    """Describe everything that decides the bits of a feature, except its image and view, in plain JSON values."""
    weights = hashlib.sha256()
    for value in extractor.get_weights():
        weights.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).data)
    file = getattr(images, "filename", None)  # of an np.memmap
    modules = (augmentation_module.__file__, batches_module.__file__, __file__)
    return {
        "weights": weights.hexdigest(),
        "layers": [[type(layer).__name__, _settings(layer)] for layer in _flatten(extractor)],
        "images": hash_content(Path(file)) if file else hashlib.sha256(images.tobytes()).hexdigest(),
        "dtype": str(feature_dtype(extractor)),
        "code": [hash_file(Path(str(path))) for path in modules],
        "packages": installed_packages(),
        "extraction": describe_extraction(),
    }


def _flatten(model: keras.Model) -> Iterator[layers.Layer]:
    for layer in model.layers:
        yield from _flatten(layer) if isinstance(layer, keras.Model) else [layer]


def _settings(layer: layers.Layer) -> dict[str, str]:
    """Return a layer's settings as text, without those that change in training or depend on earlier layers."""
    return {key: str(value) for key, value in layer.get_config().items() if key not in ("name", "trainable")}
