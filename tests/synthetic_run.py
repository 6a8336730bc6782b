"""A training job on tiny drawn pictures, from files to files, to be run in processes of its own."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from covbench.experiment.plan import Settings
from covbench.protocols import AUDITED, protocol_options
from covbench.schema import Run, Task
from covbench.system.threads import fix_threads

BINARY = Task("drawn", "classification", ("dark", "bright"), positive="bright")
OPTIONS = replace(
    protocol_options(AUDITED, BINARY),
    size=32,
    batch_size=8,
    head_epochs=2,
    head_rate=3e-3,
    fine_tune_epochs=4,
    fine_tune_rate=1e-3,
    patience=3,
)


def draw_inputs(folder: Path, count: int = 60) -> None:
    """images.npy, rows.parquet and split.parquet: pictures with a bright square (class 1) or without."""
    rng = np.random.default_rng(0)
    images = rng.integers(20, 90, (count, 32, 32), dtype=np.uint8)
    labels = np.arange(count) % 2
    for number in np.flatnonzero(labels):
        top, left = rng.integers(0, 20, 2)
        images[number, top : top + 10, left : left + 10] += 60
    ids = [f"image_{number}" for number in range(count)]
    folds = np.resize(["train", "train", "train", "train", "val", "test"], count)
    split = {
        "image_id": ids,
        "copy": 0,
        "patient_id": ids,
        "group": ids,
        "duplicate_set": ids,
        "source": "",
        "label": labels,
        "fold": folds,
    }
    np.save(folder / "images.npy", images)
    pd.DataFrame({"image_id": ids}).to_parquet(folder / "rows.parquet")
    pd.DataFrame(split).to_parquet(folder / "split.parquet")


def train_here(folder, results="results", architecture="small_cnn", changes=None, save_seconds=0.0, workers=4):
    """Train the run with `folder` as working directory; its outputs go to `results` there.

    workers: threads of the loader. save_seconds: 0 saves after every step.
    """
    import os
    from concurrent.futures import ThreadPoolExecutor

    os.chdir(folder)
    fix_threads(1)
    from covbench.system.logs import log_to

    log_to(f"{results}.log")
    from covbench.training import batches as loading
    from covbench.training import job as running
    from covbench.training import state as training_state

    loading._POOL = ThreadPoolExecutor(workers)
    training_state.pause_after = lambda size, cost=0.0: save_seconds
    names = {"model": "model.keras", "history": "history.csv", "manifest": "manifest.json"}
    outputs = {name: f"{results}/{file}" for name, file in (names | {"predictions": "predictions.parquet"}).items()}
    run, options = Run("phantom_xray", AUDITED, architecture, 0), replace(OPTIONS, **(changes or {}))
    prepared, settings = ["images.npy", "rows.parquet"], Settings(deterministic=True, precision="float32", threads=1)
    running.train_run(running.TrainingJob(run, options, "split.parquet", prepared, None, outputs, settings))


def read_result(results: Path) -> dict:
    """What two runs have to share to the last bit: weights of the model, curves but for their seconds, predictions."""
    import keras

    model = keras.saving.load_model(results / "model.keras")
    manifest = json.loads((results / "manifest.json").read_text())
    return {
        "weights": hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest(),
        "history": pd.read_csv(results / "history.csv").drop(columns="seconds").to_dict("list"),
        "predictions": pd.read_parquet(results / "predictions.parquet").to_dict("list"),
        "best_epoch": manifest["best_epoch"],
        "fingerprint": manifest["fingerprint"],
    }
