"""The dequantised MobileNetV2 of the samples: fetched under its own name, it starts a classifier and an encoder."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from covbench.data.sources.fetch_lock import LOCKS
from covbench.data.sources.pretrained_weights import fetch_weights
from covbench.models.classifier import build_classifier
from covbench.models.segmenter import build_segmenter
from covbench.schema import CovbenchError

WEIGHTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "weights"
FILE = "mobilenetv2_dequantised.h5"

pytestmark = pytest.mark.skipif(not WEIGHTS.is_dir(), reason="../shared/data is not here: no weights to fetch")


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    return fetch_weights(FILE, tmp_path_factory.mktemp("weights"), WEIGHTS)


def read_first_kernel(path):
    with h5py.File(path) as file:
        layers = file.get("model_weights", file)
        found = []
        layers["Conv1"].visititems(lambda _, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return found[0]


def test_it_is_refused_as_the_published_file(tmp_path):
    with pytest.raises(CovbenchError, match=r"not the published file but mobilenetv2_dequantised \(ImageNet weights"):
        fetch_weights("keras_mobilenetv2.h5", tmp_path, WEIGHTS)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != LOCKS]
    assert left == []


def test_a_classifier_starts_from_it(fetched):
    model = build_classifier("mobilenetv2", 64, 2, "average_pool", "own", fetched)
    assert np.array_equal(model.get_layer("backbone").get_layer("Conv1").get_weights()[0], read_first_kernel(fetched))


@pytest.mark.parametrize("decoder", ["unet", "pspnet", "linknet", "fpn"])
def test_a_segmenter_of_the_study_starts_from_it(fetched, decoder):
    model = build_segmenter(f"{decoder}_mobilenetv2", 96, 2, "own", fetched)
    kernels = [layer.get_weights() for layer in model._flatten_layers() if layer.name == "Conv1"]
    assert np.array_equal(kernels[0][0], read_first_kernel(fetched))
