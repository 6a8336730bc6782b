"""Networks of several seeds in one network: the same answers, and one graph."""

import keras
import numpy as np
import pytest

from covbench.models.classifier import build_classifier
from covbench.models.saved import load_network, load_networks
from covbench.training.classifier_parts import show_logits

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Three seeds of one network."""
    found = []
    for seed in range(3):
        keras.utils.set_random_seed(seed)
        found.append(tmp_path_factory.mktemp("seed") / "model.keras")
        build_classifier("small_cnn", 32, 2, "pooled_logits", "unit").save(found[-1])
    return found


def test_networks_of_several_seeds_predict_as_each_by_itself_and_share_a_graph(paths):
    alone = [load_network(path).predict(IMAGES, batch_size=8, verbose=0) for path in paths]
    together, networks = [], set()
    for network in load_networks(paths):
        together.append(network.predict(IMAGES, batch_size=8, verbose=0))
        networks.add(id(network))
    np.testing.assert_array_equal(together, alone)
    assert len(np.unique(np.round(alone, 6), axis=0)) == 3, "the seeds have to differ to show anything"
    assert len(networks) == 1
    assert network.predict_function.experimental_get_tracing_count() == 2  # of whole batches, and of any


def test_logits_of_several_folds_and_seeds_come_from_one_graph(paths):
    logits = []
    for network in load_networks(paths):
        for images in (IMAGES, IMAGES[:3]):
            shown = show_logits(network)
            logits.append(shown.predict(images, batch_size=8, verbose=0)[1])
    assert shown.predict_function.experimental_get_tracing_count() == 2
    for path, whole, part in zip(paths, logits[::2], logits[1::2], strict=True):
        expected = show_logits(load_network(path)).predict(IMAGES, batch_size=8, verbose=0)[1]
        np.testing.assert_array_equal(whole, expected)
        np.testing.assert_allclose(part, whole[:3], atol=1e-6)
