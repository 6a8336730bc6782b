"""The networks that are drawn here: one file each, found by itself, and as they were before each had its file."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from covbench.models.classifier import build_classifier
from covbench.models.segmenter import build_segmenter
from tests.added_networks import CLASSIFIER, SEGMENTER
from tests.project_copy import copy_project, environment_of, run_in

FINGERPRINTS = """
import json, sys
from covbench.experiment.provenance import decide_inputs, fingerprint_inputs
from covbench.models.catalogue import BASELINES, CLASSIFIERS, SEGMENTERS, kind_of
from covbench.schema import CLASSIFICATION, Run
found = {}
for name in [*CLASSIFIERS, *SEGMENTERS, *BASELINES]:
    task = "phantom_xray" if kind_of(name) == CLASSIFICATION else "phantom_lesions"
    found[name] = fingerprint_inputs(decide_inputs(Run(task, "audited", name, 0), {"size": 96}, {}))
assert not {"keras", "tensorflow"} & set(sys.modules)
print(json.dumps(found))
"""
LAYERS = """
from covbench.models.classifier import build_classifier
from covbench.models.segmenter import build_segmenter
for model in (build_classifier("flat_cnn", 32, 2, "average_pool", "own"), build_segmenter("flat_unet", 32, 2, "own")):
    print(*[layer.name for layer in model.get_layer("network").layers[1:]])
"""
AS_BEFORE = {
    "small_cnn": (246_515, 7797.7566, (0.3174647, 0.3572741, 0.3252612)),
    "small_resnet": (617_459, 20841.3173, (0.3220131, 0.3480430, 0.3299440)),
    "mobilenetv2_035": (414_051, 35328.7442, (0.3333333, 0.3333333, 0.3333333)),
    "efficientnetb0": (4_053_414, 351839.6850, (0.3333309, 0.3333356, 0.3333336)),
    "unet_small": (1_945_555, 50038.7510, (0.3319028, 0.3331926, 0.3349046)),
}
"""Number of weights, sum of their absolute values at seed 0, and the first answers, noted in November 2026."""


@pytest.fixture
def checkout(tmp_path):
    """A copy of the project, whose networks may be added to."""
    return copy_project(tmp_path)


def test_adding_networks_leaves_every_other_run_current_and_needs_no_keras(checkout):
    networks = checkout / "src/covbench/models/networks"
    before = json.loads(run_in(checkout, FINGERPRINTS))
    (networks / "flat_cnn.py").write_text(CLASSIFIER)
    (networks / "flat_unet.py").write_text(SEGMENTER)
    after = json.loads(run_in(checkout, FINGERPRINTS))
    assert after.keys() - before.keys() == {"flat_cnn", "flat_unet"}
    assert {name: after[name] for name in before} == before


def test_an_edited_network_makes_stale_its_own_runs_alone(checkout):
    before = json.loads(run_in(checkout, FINGERPRINTS))
    with open(checkout / "src/covbench/models/networks/small_resnet.py", "a") as file:
        file.write("\n# edited\n")
    after = json.loads(run_in(checkout, FINGERPRINTS))
    assert {name for name in before if before[name] != after[name]} == {"small_resnet"}


def test_an_added_network_is_built_by_its_own_function(checkout):
    networks = checkout / "src/covbench/models/networks"
    (networks / "flat_cnn.py").write_text(CLASSIFIER)
    (networks / "flat_unet.py").write_text(SEGMENTER)
    assert run_in(checkout, LAYERS).splitlines() == ["the_only_one", "the_flat_one"]


def test_a_file_that_is_no_network_is_named(checkout):
    file = checkout / "src/covbench/models/networks/helpers.py"
    file.write_text("FILTERS = (16, 32)\n")
    command = [sys.executable, "-c", "import covbench.models.catalogue"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment_of(checkout), timeout=60)
    assert f"CovbenchError: {file}: a network needs CARD and build" in done.stderr


@pytest.mark.parametrize("name", AS_BEFORE)
def test_a_network_starts_from_the_same_weights_and_gives_the_same_answers_as_before(name):
    keras.utils.set_random_seed(0)
    if name == "unet_small":
        model = build_segmenter(name, 64, 3, "own")
    else:
        model = build_classifier(name, 64, 3, "average_pool", "own")
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype("float32")
    count, size, answers = AS_BEFORE[name]
    assert model.count_params() == count
    assert sum(float(np.abs(value).sum()) for value in model.get_weights()) == pytest.approx(size, rel=1e-5)
    found = np.asarray(model(images, training=False)).reshape(-1)[:3]
    np.testing.assert_allclose(found, answers, atol=1e-5)
