"""Run the job of one baseline, from files to files, without TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from covbench.data.datasets import TASKS
from covbench.data.folds import ClassMaps, Fold, Predicted, open_folds, write_predicted
from covbench.experiment.provenance import describe_run, gather_inputs, name_inputs
from covbench.models.baselines import FEATURES, Baseline, fit_baseline, predict_baseline
from covbench.schema import Run
from covbench.system.energy import UNSAID, EnergyMeter, EnergySettings, describe_energy
from covbench.system.files import write_json
from covbench.system.threads import BASELINE_THREADS
from covbench.training.baseline_features import load_features


def _see(name: str, fold: Fold) -> np.ndarray:
    """Return what a baseline sees of each image of a fold, as models.baselines.fit_baseline."""
    if name in FEATURES:
        return load_features(name, fold)
    return np.empty((len(fold), 0), np.uint8) if fold.masks is None else fold.load_images()


def predict_with(fitted: Baseline, fold: Fold) -> np.ndarray | ClassMaps:
    """Predict a fold: probabilities, float, (R, C), or class maps."""
    values = predict_baseline(fitted, _see(fitted.name, fold))
    return values if fold.masks is None else ClassMaps(values)


def fit_run(run: Run, train: Fold) -> Baseline:
    """Fit the baseline of a run on its training fold."""
    classes = TASKS[run.task].classes
    return fit_baseline(run.architecture, _see(run.architecture, train), train.load_targets(), classes, run.seed)


def fit_baseline_run(
    run: Run,
    split_path: str,
    prepared_paths: Sequence[str],
    outputs: Mapping[str, str],
    energy: EnergySettings = UNSAID,
) -> None:
    """Fit a baseline and write its manifest, its predictions and, for a segmentation, its masks.

    Args:
        run: names task, baseline and seed.
        split_path: path of the split.
        prepared_paths: paths of the prepared arrays.
        outputs: paths by `manifest`, `predictions` and, where pixels are labelled, `masks`.
        energy: what the config says about energy.
    """
    started, meter = time.monotonic(), EnergyMeter()
    inputs = gather_inputs(run, {}, name_inputs(split_path, prepared_paths), {})
    count = len(TASKS[run.task].classes)
    train, val, test = open_folds(split_path, prepared_paths, ("train", "val", "test"), count)
    fitted = fit_run(run, train)
    parts = [
        Predicted(fold, name, run.seed, predict_with(fitted, fold)) for name, fold in (("val", val), ("test", test))
    ]
    write_predicted(parts, outputs)
    facts = {"device": "cpu", "threads": BASELINE_THREADS, "weights": "none"}
    facts |= {"seconds": round(time.monotonic() - started, 1), "parameters": 0, "epochs_run": 0, "best_epoch": 0}
    write_json(outputs["manifest"], describe_run(inputs, **facts, **describe_energy(meter.read(), energy)))
