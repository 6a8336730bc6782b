"""What every network promises of its answers."""

import tempfile
from pathlib import Path

import keras
import numpy as np

from covbench.models.catalogue import architecture, input_size
from covbench.models.classifier import build_classifier

SIDE = 32  # pixels, or the least that the network takes
CLASSES = 3


def check_answers(model: keras.Model, images: np.ndarray, shape: tuple[int, ...], saved: bool = True) -> None:
    """Raise AssertionError unless it gives float32 probabilities of a shape, and the same ones after it was saved."""
    probabilities = _predict(model, images)
    assert probabilities.shape == shape
    assert probabilities.dtype == np.float32
    assert ((probabilities >= 0) & (probabilities <= 1)).all()  # NaN is neither
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-5)
    if not saved:
        return
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
        again = keras.saving.load_model(Path(folder) / "model.keras")
    assert np.array_equal(_predict(again, images), probabilities)


def check_parts(model: keras.Model, name: str) -> None:
    """Raise AssertionError unless Grad-CAM finds feature maps, and the head ends in logits and their probabilities."""
    network = model.get_layer("backbone" if architecture(name).constructor else "network")
    assert len(network.output.shape) == 4
    assert [layer.name for layer in model.get_layer("head").layers[-2:]] == ["logits", "probabilities"]


def _predict(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return keras.ops.convert_to_numpy(model(images.astype("float32"), training=False))


def check_classifier(name: str) -> None:
    """Raise AssertionError unless a classifier of the catalogue has its parts and gives probabilities."""
    side = input_size(name, SIDE)
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    model = build_classifier(name, side, CLASSES, "average_pool", "own")
    check_parts(model, name)
    check_answers(model, images, (2, CLASSES), saved=False)
