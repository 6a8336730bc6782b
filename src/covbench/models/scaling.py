"""Input scalings as layers, so that a saved model contains its own and takes raw 0-255 RGB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from covbench.schema import CovbenchError

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, 0-1
IMAGENET_STANDARD_DEVIATION = (0.229, 0.224, 0.225)
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)  # 0-255


@keras.saving.register_keras_serializable("covbench")
class CaffeScaling(keras.layers.Layer):
    """RGB to BGR minus the ImageNet mean, as VGG and ResNet were trained in Caffe: (..., 3), 0-255 in."""

    def call(self, images: Any) -> Any:
        """Scale a batch."""
        return ops.flip(images, axis=-1) - ops.convert_to_tensor(_CAFFE_MEAN_BGR, dtype=images.dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input."""
        return input_shape


def _torch() -> keras.layers.Layer:
    pairs = list(zip(IMAGENET_MEAN, IMAGENET_STANDARD_DEVIATION, strict=True))
    scale = [1.0 / (255.0 * deviation) for _, deviation in pairs]
    offset = [-mean / deviation for mean, deviation in pairs]
    return keras.layers.Rescaling(scale, offset, dtype="float32", name="scaling")


SCALINGS: dict[str, Callable[[], keras.layers.Layer]] = {
    "unit": lambda: keras.layers.Rescaling(1.0 / 255.0, dtype="float32", name="scaling"),  # 0..1
    "tf": lambda: keras.layers.Rescaling(1.0 / 127.5, -1.0, dtype="float32", name="scaling"),  # -1..1
    "torch": _torch,  # 0..1, minus the ImageNet mean, divided by the ImageNet standard deviation
    "caffe": lambda: CaffeScaling(dtype="float32", name="scaling"),
    "none": lambda: keras.layers.Rescaling(1.0, dtype="float32", name="scaling"),  # 0..255, the network scales itself
}


def build_scaling(scaling: str, own: str) -> keras.layers.Layer:
    """Build the layer named `scaling`, in float32 whatever the dtype policy.

    scaling: `unit` (1/255), `raw` (0-255) or `own`.
    own: the name in SCALINGS that `own` means for the network.

    Raises CovbenchError for any other choice.
    """
    chosen = {"unit": "unit", "raw": "none", "own": own}
    if scaling not in chosen:
        raise CovbenchError(f"scaling: unknown {scaling!r}; known: {', '.join(chosen)}")
    return SCALINGS[chosen[scaling]]()
