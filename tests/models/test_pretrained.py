"""ImageNet weights reach the layers that they were trained in, from local files only."""

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from covbench.models.classifier import build_classifier
from covbench.models.segmenter import build_segmenter
from covbench.schema import CovbenchError

SAMPLE = (
    Path(__file__).resolve().parents[2].parent
    / "shared/data/weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write_without_top(network: keras.Model, path: Path) -> None:
    """In the layout of the published files: a group per layer in order of topology, its weights in order."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.1.6"
        for layer in network.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/weight_{place}:0".encode() for place in range(len(layer.weights))]
            group.attrs["weight_names"] = names
            for name, value in zip(names, layer.get_weights(), strict=True):
                group.create_dataset(name.decode(), data=value)


def scramble(network: keras.Model) -> None:
    """Random values in every weight, so that no two layers agree by chance."""
    random = np.random.default_rng(0)
    for layer in network.layers:
        layer.set_weights([random.uniform(0.5, 1.5, value.shape).astype(value.dtype) for value in layer.get_weights()])


@pytest.mark.skipif(not SAMPLE.is_file(), reason=f"needs {SAMPLE.name} in ../shared/data/weights")
def test_the_real_mobilenet_v2_weights_are_loaded_bit_for_bit():
    backbone = build_classifier("mobilenetv2_035", 224, 3, "average_pool", "own", SAMPLE).get_layer("backbone")
    with h5py.File(SAMPLE) as file:
        groups = file.get("model_weights", file)
        names = [name.decode() if isinstance(name, bytes) else name for name in groups.attrs["layer_names"]]
        stored = {name: [groups[name][weight][()] for weight in groups[name].attrs["weight_names"]] for name in names}
    compared = [
        np.array_equal(value, loaded)
        for layer in backbone.layers
        for value, loaded in zip(stored.get(layer.name, []), layer.get_weights(), strict=True)
    ]
    assert len(compared) == 260
    assert all(compared)


def test_efficientnet_from_its_file_is_the_network_of_weights_imagenet(tmp_path, monkeypatch):
    """The published file holds the deviation where the variance belongs, and Keras mends it with a further layer."""
    path = tmp_path / "efficientnetb0_notop.h5"
    network = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    normalisation = next(layer for layer in network.layers if isinstance(layer, keras.layers.Normalization))
    normalisation.adapt_mean.assign(MEAN)
    normalisation.adapt_variance.assign(DEVIATION)
    write_without_top(network, path)
    monkeypatch.setattr("keras.src.applications.efficientnet.file_utils.get_file", lambda *_, **__: str(path))
    upstream = keras.applications.EfficientNetB0(include_top=False, weights="imagenet", input_shape=(32, 32, 3))
    ours = build_classifier("efficientnetb0", 32, 2, "average_pool", "own", path).get_layer("backbone")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    expected = upstream.predict(images, verbose=0)
    np.testing.assert_allclose(ours.predict(images, verbose=0), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["unet_mobilenetv2", "pspnet_mobilenetv2"])
def test_encoder_weights_reach_the_encoder_even_where_the_decoder_uses_a_part_of_it(name, tmp_path):
    from covbench.models.sm_adapter import build_sm_encoder

    path = tmp_path / "encoder.h5"
    encoder = build_sm_encoder("mobilenetv2", 96)
    scramble(encoder)
    write_without_top(encoder, path)
    network = build_segmenter(name, 96, 2, "own", path).get_layer("network")
    shared = {layer.name for layer in network.layers} & {layer.name for layer in encoder.layers if layer.weights}
    assert "block_5_project_BN" in shared
    for layer_name in shared:
        for ours, theirs in zip(
            network.get_layer(layer_name).get_weights(), encoder.get_layer(layer_name).get_weights(), strict=True
        ):
            assert np.array_equal(ours, theirs), layer_name


def test_a_missing_weight_file_is_named_and_never_replaced_by_chance(tmp_path):
    with pytest.raises(CovbenchError, match=r"gone\.h5: no such weight file for vgg16; fetch the weights"):
        build_classifier("vgg16", 32, 2, "average_pool", "own", tmp_path / "gone.h5")
    with pytest.raises(CovbenchError, match=r"gone\.h5: no such weight file for encoder mobilenetv2"):
        build_segmenter("unet_mobilenetv2", 96, 2, "own", tmp_path / "gone.h5")


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "vgg16.h5"
    write_without_top(keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3)), path)
    with pytest.raises(CovbenchError, match=r"vgg16\.h5: does not hold the weights of mobilenetv2"):
        build_classifier("mobilenetv2", 32, 2, "average_pool", "own", path)


def test_a_truncated_weight_file_is_refused(tmp_path):
    path = tmp_path / "broken.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    with pytest.raises(CovbenchError, match=r"broken\.h5"):
        build_classifier("mobilenetv2", 32, 2, "average_pool", "own", path)


def test_a_network_trained_from_scratch_takes_no_weights(tmp_path):
    with pytest.raises(CovbenchError, match="small_cnn is trained from scratch"):
        build_classifier("small_cnn", 32, 2, "average_pool", "own", tmp_path / "any.h5")
