"""Hand-made features of images: computed once per image, kept by content for all splits, protocols and seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from covbench.data import augmentation, folds
from covbench.data.folds import Fold
from covbench.experiment.provenance import installed_packages
from covbench.models import baselines
from covbench.models.baselines import FEATURES
from covbench.system.content_hashes import hash_array
from covbench.system.files import hash_file
from covbench.system.processors import describe_processor
from covbench.system.row_store import FOLDER, RowFile, open_folder

CHUNK = 256  # images that are computed at once


def load_features(name: str, fold: Fold, root: Path = FOLDER) -> np.ndarray:
    """Load the features that a baseline sees of a fold, and compute those that are not kept yet.

    Args:
        name: a name of models.baselines.FEATURES.
        fold: the images.
        root: the folder of all kept features.

    Returns:
        float32, (R, F), with the bits that the function in FEATURES gives.
    """
    describe = FEATURES[name]
    width = describe(np.zeros((1, *fold.images.shape[1:]), np.uint8)).shape[1]
    content = {
        "features": name,
        "images": hash_array(fold.images),
        "code": [hash_file(Path(str(module.__file__))) for module in (augmentation, baselines, folds)],
        "packages": installed_packages(),
        "instruction_set": describe_processor()["instruction_set"],
    }
    file = RowFile(open_folder(root, content) / name, width, np.dtype(np.float32))
    features = np.empty((len(fold), width), np.float32)
    for first in range(0, len(fold), CHUNK):
        rows = np.arange(first, min(first + CHUNK, len(fold)))

        def compute(left: np.ndarray, rows: np.ndarray = rows) -> np.ndarray:
            return describe(np.stack([fold.load(row)[0] for row in rows[left]]))

        features[rows] = file.load(fold.slots[rows], fold.keys[rows], compute)
        fold.release()
    return features
