"""One promise, asked of every architecture of the catalogue: it builds, learns, predicts, and comes back from disk."""

import gc
from concurrent.futures import ProcessPoolExecutor

import keras
import numpy as np
import pytest

from covbench.models.catalogue import CLASSIFIERS, DEFAULT_CLASSIFIERS, SEGMENTERS, input_size
from covbench.models.classifier import build_classifier
from covbench.models.losses import build_loss
from covbench.models.segmenter import build_segmenter
from covbench.schema import CLASSIFICATION
from tests.keras_processes import fork_with_keras

from .promise import CLASSES, check_answers, check_classifier, check_parts

pytestmark = pytest.mark.slow
SIDE = 64  # pixels, or the least that the network takes
ONE_OF_A_FAMILY = {"mobilenetv2_035", "mobilenetv3small", "efficientnetv2b0", "convnexttiny"}
BUILT_ONLY = [
    name
    for name, entry in CLASSIFIERS.items()
    if entry.constructor and name not in {*DEFAULT_CLASSIFIERS, *ONE_OF_A_FAMILY}
]
"""Siblings of networks that are trained and saved here, with the same kinds of layers; each is built in a process of
its own, which frees its memory."""
TRAINED = [entry for entry in (*CLASSIFIERS.values(), *SEGMENTERS.values()) if entry.name not in BUILT_ONLY]

SAVED_SEGMENTERS = [name for name in SEGMENTERS if name.startswith("unet_") or name.endswith("_mobilenetv2")]
"""Every encoder and every decoder at least once: what is saved is theirs, and the others join the same parts."""


def leave_out(entries, kept):
    """Parameters of tests; those that are not kept run with `make test-exhaustive` alone."""
    names = {entry: entry if isinstance(entry, str) else entry.name for entry in entries}
    marks = {True: (), False: (pytest.mark.exhaustive,)}
    return [pytest.param(entry, id=name, marks=marks[name in kept]) for entry, name in names.items()]


@pytest.fixture(autouse=True)
def _one_network_in_memory():
    keras.utils.set_random_seed(0)
    yield
    keras.backend.clear_session()
    gc.collect()


@pytest.fixture(scope="module")
def processes():
    """A process for each call, which finds Keras imported and gives its memory back."""
    with ProcessPoolExecutor(1, fork_with_keras(), max_tasks_per_child=1) as pool:
        yield pool


@pytest.mark.parametrize("name", leave_out(BUILT_ONLY, BUILT_ONLY[::3]))
def test_it_builds_and_gives_probabilities(processes, name):
    processes.submit(check_classifier, name).result()


@pytest.mark.parametrize("entry", leave_out(TRAINED, {*CLASSIFIERS, *SAVED_SEGMENTERS}))
def test_it_builds_takes_a_training_step_gives_probabilities_and_is_the_same_after_saving(entry):
    side = input_size(entry.name, SIDE)
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    if entry.kind == CLASSIFICATION:
        model = build_classifier(entry.name, side, CLASSES, "average_pool", "own")
        targets, loss = np.eye(CLASSES)[[0, 2]], "categorical_crossentropy"
        check_parts(model, entry.name)
    else:
        model = build_segmenter(entry.name, side, CLASSES, "own")
        targets, loss = np.eye(CLASSES)[images[..., 0] % CLASSES], "crossentropy_dice"
    assert np.isfinite(_train_one_step(model, images, targets, loss))
    check_answers(model, images, targets.shape, saved=entry.kind == CLASSIFICATION or entry.name in SAVED_SEGMENTERS)


def _train_one_step(model, images, targets, loss):
    """Without a graph, whose tracing takes the largest networks minutes; the workflow's tests train with one."""
    model.compile(keras.optimizers.SGD(1e-3), build_loss(loss), run_eagerly=True)
    before = model.get_weights()
    cost = model.train_on_batch(images, targets)
    changed = [not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True)]
    assert sum(changed) > 0.9 * len(changed)
    return cost


@pytest.mark.parametrize("name", ["unet_small", "unet_mobilenetv2", "linknet_mobilenetv2", "pspnet_mobilenetv2"])
def test_a_segmenter_with_the_study_s_head_on_the_background_keeps_the_promise_too(name):
    side = input_size(name, SIDE)
    images = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    model = build_segmenter(name, side, 2, "own", head="background_sigmoid")
    targets = np.eye(2)[images[..., 0] % 2]
    assert np.isfinite(_train_one_step(model, images, targets, "background_dice_focal"))
    check_answers(model, images, targets.shape)
