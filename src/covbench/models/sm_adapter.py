"""Use segmentation-models 1.0.1 on Keras 3. No other module imports the library.

The library was written for Keras 2. This module repairs what breaks under Keras 3, without changing the library's
files:

- The default framework `keras` needs keras.utils.generic_utils, which no longer exists. The library is set to tf.keras,
  which is Keras 3 under any Keras backend.
- DenseNet names layers `conv1/conv`, and Keras 3 forbids the slash. The DenseNet of keras.applications has the same
  graph, layer numbers and weights, and replaces it.
- Lambda layers are not restored from a .keras file. A registered layer replaces each, one for one, because the library
  finds its skip connections by layer number.
- EfficientNet's swish and dropout are closures. Keras's own versions replace them.
- The library downloads ImageNet weights on its own. Here an encoder loads a local file or stays random.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from covbench.models.pretrained import load_weights_file

os.environ["SM_FRAMEWORK"] = "tf.keras"
with contextlib.redirect_stdout(io.StringIO()):  # it prints which framework it found
    import efficientnet.model as efficientnet
    import segmentation_models as sm
    from segmentation_models.backbones.backbones_factory import BackbonesFactory


@keras.saving.register_keras_serializable("covbench")
class ChannelSlice(keras.layers.Layer):
    """Channels start to stop - 1 of (B, H, W, C): one group of a grouped convolution."""

    def __init__(self, start: int, stop: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = start
        self.stop = stop

    def call(self, inputs: Any) -> Any:
        """Slice a batch."""
        return inputs[..., self.start : self.stop]

    def get_config(self) -> dict[str, Any]:
        """Return what a saved model needs to rebuild the layer."""
        return {**super().get_config(), "start": self.start, "stop": self.stop}


@keras.saving.register_keras_serializable("covbench")
class ScaledResidual(keras.layers.Layer):
    """The residual sum of Inception-ResNet, first + scale * second, of two tensors of one shape."""

    def __init__(self, scale: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: list[Any]) -> Any:
        """Add a batch of residuals."""
        return inputs[0] + inputs[1] * self.scale

    def get_config(self) -> dict[str, Any]:
        """Return what a saved model needs to rebuild the layer."""
        return {**super().get_config(), "scale": self.scale}


def _replace_lambda(
    function: Callable, output_shape: Any = None, arguments: dict[str, Any] | None = None, name: str | None = None
) -> keras.layers.Layer:
    """Return the registered layer that replaces one of the library's three Lambda layers, known by its arguments."""
    arguments = arguments or {}
    if "scale" in arguments:
        return ScaledResidual(arguments["scale"], name=name)
    if "channels_axis" in arguments:
        return keras.layers.Reshape((1, 1, -1), name=name)
    return ChannelSlice(arguments["start"], arguments["stop"], name=name)


class _Layers:
    """keras.layers with another Lambda."""

    Lambda = staticmethod(_replace_lambda)

    def __getattr__(self, name: str) -> Any:
        return getattr(keras.layers, name)


def _without_submodules(function: Callable) -> Callable:
    """Let a function of keras.applications accept the keyword arguments of keras_applications."""
    submodules = ("backend", "layers", "models", "utils")
    return lambda *args, **kwargs: function(*args, **{k: v for k, v in kwargs.items() if k not in submodules})


_build_encoder = BackbonesFactory.get_backbone


def _build_local_encoder(
    factory: BackbonesFactory, name: str, weights: Path | None = None, **kwargs: Any
) -> keras.Model:
    """Build an encoder as the library does, with weights from a local file only, or random weights for None."""
    encoder = _build_encoder(factory, name, weights=None, **kwargs)
    if weights is not None:
        load_weights_file(encoder, weights, f"encoder {name}")
    return encoder


sm._KERAS_LAYERS = _Layers()
efficientnet.get_swish = lambda **_: "swish"
efficientnet.get_dropout = lambda **_: keras.layers.Dropout
BackbonesFactory._models_update["densenet121"] = [
    _without_submodules(keras.applications.DenseNet121),
    _without_submodules(keras.applications.densenet.preprocess_input),
]
BackbonesFactory.get_backbone = _build_local_encoder


def build_sm_network(decoder: str, encoder: str, size: int, classes: int, weights: Path | None) -> keras.Model:
    """Build a network of the library, from scaled images to logits.

    Args:
        decoder: Unet, PSPNet, Linknet or FPN.
        encoder: the library's name of the encoder.
        size: side of the square input, in pixels.
        classes: number of classes C.
        weights: the encoder's ImageNet weights without top, an .h5 file; None for random weights.

    Returns:
        A model from scaled images, (B, size, size, 3), to logits, (B, size, size, C).

    Raises:
        CovbenchError: the weight file is missing, or was written for another encoder.
    """
    return getattr(sm, decoder)(
        encoder, input_shape=(size, size, 3), classes=classes, activation="linear", encoder_weights=weights
    )


def build_sm_encoder(encoder: str, size: int, weights: Path | None = None) -> keras.Model:
    """Build the whole encoder alone, as its weight file was written.

    Args:
        encoder: the library's name of the encoder.
        size: side of the square input, in pixels.
        weights: the encoder's ImageNet weights without top, an .h5 file; None for random weights.

    Returns:
        A model from scaled images, (B, size, size, 3), to features.

    Raises:
        CovbenchError: the weight file is missing, or was written for another encoder.
    """
    return _build_local_encoder(
        sm.backbones.backbones_factory.Backbones,
        encoder,
        weights=weights,
        input_shape=(size, size, 3),
        include_top=False,
        backend=sm._KERAS_BACKEND,
        layers=sm._KERAS_LAYERS,
        models=sm._KERAS_MODELS,
        utils=sm._KERAS_UTILS,
    )
