"""Features once per image: processor seconds of external tests, baselines and Grad-CAM maps, before against after"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bench.loader import draw_images, make_fold
from bench.processes import call_fresh
from bench.rows import Row

SIDE, NETWORK = 224, "mobilenetv2_035"
SEEDS, PROTOCOLS = 3, 2
RUNS = SEEDS * PROTOCOLS
TESTED, DESCRIBED, EXPLAINED = 500, 1000, 40  # images: a thirtieth and a fifteenth of 15,000; cases of a model


def measure() -> list[Row]:
    """Do each job as it was done before and as it is done now, in a separate process each, one after the other."""
    of_runs = f"{SEEDS} seeds x {PROTOCOLS} protocols"
    tested = f"{NETWORK}, {SIDE} px, {of_runs} on {TESTED:,} images, a thirtieth of 15,000; models are loaded too"
    described = f"HOG and fit, {of_runs}, {DESCRIBED:,} images, a fifteenth of 15,000"
    explained = f"{EXPLAINED} cases of {NETWORK}, loading it included, imports left out; before: one image at a time"
    return [
        _compare("external tests", "test", "average_pool", ">= 3", tested),
        _compare("HOG baselines", "fit", "", ">= 2", described),
        _compare("Grad-CAM, head on averages", "explain", "average_pool", "", explained),
        _compare("Grad-CAM, head on maps", "explain", "dense_512_64", "", f"{explained}; features are kept"),
    ]


def _compare(name: str, job: str, head: str, bar: str, note: str) -> Row:
    before, after = (call_fresh(f"bench.features_once:{job}", head, way) for way in ("before", "after"))
    return Row(name, after, before, "s of processor", before / after, bar, note)


def _spend(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _save_models(head: str, count: int) -> list[str]:
    """Save models with one backbone and different heads."""
    import keras

    from covbench.models.classifier import build_classifier

    keras.utils.set_random_seed(0)
    model = build_classifier(NETWORK, SIDE, 3, head, "unit")
    model.get_layer("backbone").trainable = False
    paths = [f"{number}.keras" for number in range(count)]
    for path in paths:
        logits = model.get_layer("head").get_layer("logits")
        logits.set_weights([np.random.default_rng().normal(0, 0.1, value.shape) for value in logits.get_weights()])
        model.save(path)
    keras.backend.clear_session()
    return paths


def _options(head: str) -> Any:
    from covbench.protocols import PUBLISHED, protocol_options
    from covbench.schema import Task

    task = Task("synthetic", "classification", ("dark", "bright"), positive="bright")
    return replace(protocol_options(PUBLISHED, task), size=SIDE, head=head)


def test(head: str, way: str) -> float:
    """Predict the same images with six models that share a backbone. Returns processor seconds."""
    import keras

    from covbench.models.saved import load_network
    from covbench.training.batches import Batches
    from covbench.training.predict import predict_fold

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        paths, fold = _save_models(head, RUNS), make_fold(draw_images(TESTED, SIDE), 3)

        def work() -> None:
            for seed, path in enumerate(paths):
                model = load_network(path)
                if way == "before":
                    model.predict(Batches(fold, 32, seed), verbose=0)
                else:
                    predict_fold(model, fold, "test", _options(head), seed)
                keras.backend.clear_session()

        return _spend(work)


def fit(_: str, way: str) -> float:
    """Fit and predict six baselines on divisions of the same images. Returns processor seconds."""
    from covbench.models.baselines import FEATURES, fit_baseline, predict_baseline
    from covbench.training.baseline_features import load_features

    name = "hog_logistic"

    def see(part: Any) -> np.ndarray:
        return load_features(name, part) if way == "after" else FEATURES[name](part.load_images())

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        fold = make_fold(draw_images(DESCRIBED, SIDE))

        def work() -> None:
            for seed in range(RUNS):
                train, rest = _divide(fold, seed)
                fitted = fit_baseline(name, see(train), train.labels, ("dark", "bright"), seed)
                predict_baseline(fitted, see(rest))

        return _spend(work)


def _divide(fold: Any, seed: int) -> list[Any]:
    """Divide a fold at random: 70 % to train, the rest to validate and test."""
    order = np.random.default_rng(seed).permutation(len(fold))
    return [
        replace(fold, positions=fold.positions[p], rows=fold.rows.iloc[p].reset_index(drop=True), keys=fold.keys[p])
        for p in np.split(order, [7 * len(fold) // 10])
    ]


def explain(head: str, way: str) -> float:
    """Load a model and compute the maps of its cases. Returns processor seconds."""
    from covbench.models.saved import load_network
    from covbench.training.gradcam import find_maps, load_maps

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        (path,) = _save_models(head, 1)
        fold, classes = make_fold(draw_images(EXPLAINED, SIDE), 3), np.zeros(EXPLAINED, int)
        if head == "dense_512_64":
            load_maps(load_network(path), fold, _options(head))  # the training has kept them

        def work() -> None:
            model = load_network(path)
            if way == "after":
                find_maps(model, load_maps(model, fold, _options(head)), classes)
            else:
                _find_maps_one_by_one(model, fold.images)

        return _spend(work)


def _find_maps_one_by_one(model: Any, images: np.ndarray) -> None:
    """Compute the maps of class 0 as before: each image passes alone through the network."""
    import tensorflow as tf

    from covbench.training.classifier_parts import cut_at_features

    before, to_logits = cut_at_features(model)
    for image in images:
        features = before(np.repeat(image[None, ..., None], 3, axis=3).astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch(features)
            score = to_logits(features, training=False)[:, 0]
        weights = tf.reduce_mean(tape.gradient(score, features), axis=(1, 2), keepdims=True)
        tf.nn.relu(tf.reduce_sum(weights * features, axis=-1)).numpy()
