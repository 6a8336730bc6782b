"""`python -m tests.contracts.build_one NAME`: builds a classifier; checks its answers before and after saving."""

import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from covbench.models.catalogue import architecture, input_size
from covbench.models.classifier import build_classifier

SIDE = 32  # pixels, or the least that the network takes
CLASSES = 3


def check_classifier(name: str) -> None:
    """Raise AssertionError unless it gives probabilities, the same after saving, and has its Grad-CAM layer."""
    side = input_size(name, SIDE)
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3)).astype("float32")
    model = build_classifier(name, side, CLASSES, "average_pool", "own")
    probabilities = np.asarray(model(images, training=False))
    assert probabilities.shape == (2, CLASSES)
    assert ((probabilities >= 0) & (probabilities <= 1)).all()  # NaN is neither
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    backbone, layer = model.get_layer("backbone"), architecture(name).gradcam_layer
    assert len((backbone.get_layer(layer) if layer else backbone).output.shape) == 4
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        again = keras.saving.load_model(Path(folder) / "model.keras")
    assert np.array_equal(np.asarray(again(images, training=False)), probabilities)


if __name__ == "__main__":
    check_classifier(sys.argv[1])
