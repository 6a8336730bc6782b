"""A trial is trained as its run is, on a folder without a test image, and leaves no prediction."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from covbench.experiment.plan import Settings
from covbench.protocols import AUDITED
from covbench.schema import HISTORY_COLUMNS, Run, Trial
from tests.keras_processes import fork_with_keras
from tests.synthetic_run import OPTIONS, draw_inputs

CURVES = [name for name in HISTORY_COLUMNS if name != "seconds"]


def run_here(folder, trial, changes):
    """Train a trial, or the run itself where `trial` is None, with `folder` as working directory."""
    import os

    from covbench.system.threads import fix_threads

    os.chdir(folder)
    fix_threads(1)
    from covbench.training.job import TrainingJob, train_run
    from covbench.training.trial import train_trial

    names = ["history.csv", "manifest.json"] + ["model.keras", "predictions.parquet"] * (trial is None)
    outputs = {name.split(".")[0]: f"{'run' if trial is None else trial}/{name}" for name in names}
    cell = ("phantom_xray", AUDITED, "small_cnn", 0)
    settings, prepared = Settings(deterministic=True, precision="float32", threads=1), ["images.npy", "rows.parquet"]
    run = Run(*cell) if trial is None else Trial(*cell, trial)
    job = TrainingJob(run, replace(OPTIONS, **changes), "split.parquet", prepared, None, outputs, settings)
    train_run(job) if trial is None else train_trial(job)


@pytest.fixture(scope="module")
def train():
    """Trains in a process of its own; its exit code."""
    processes = fork_with_keras()

    def train_apart(folder, trial, **changes):
        process = processes.Process(target=run_here, args=(str(folder), trial, changes))
        process.start()
        process.join(timeout=240)
        return process.exitcode

    return train_apart


@pytest.fixture
def folder(tmp_path):
    draw_inputs(tmp_path)
    return tmp_path


def take_test_images_away(folder):
    """Leave only the images of training and validation, so that a job which opens the test fold cannot run."""
    split, images = pd.read_parquet(folder / "split.parquet"), np.load(folder / "images.npy")
    kept = (split["fold"] != "test").to_numpy()
    np.save(folder / "images.npy", images[kept])
    split.loc[kept, ["image_id"]].to_parquet(folder / "rows.parquet")


def test_a_trial_needs_no_test_image_which_its_run_cannot_do_without(train, folder):
    take_test_images_away(folder)
    assert train(folder, 0, fine_tune_epochs=1) == 0
    assert sorted(path.name for path in (folder / "0").iterdir()) == [
        "history.csv",
        "history.csv.sha256",
        "manifest.json",
    ]
    assert train(folder, None, fine_tune_epochs=1) == 1


def test_a_trial_has_the_curves_of_its_run_and_the_loss_of_the_epoch_that_is_kept(train, folder):
    assert train(folder, 1) == train(folder, None) == 0
    trial, run = (pd.read_csv(folder / name / "history.csv") for name in ("1", "run"))
    assert trial[CURVES].equals(run[CURVES])
    manifest = json.loads((folder / "1" / "manifest.json").read_text())
    assert manifest["run"] == {
        "task": "phantom_xray",
        "protocol": AUDITED,
        "architecture": "small_cnn",
        "seed": 0,
        "trial": 1,
    }
    assert manifest["val_loss"] == run["val_loss"][json.loads((folder / "run/manifest.json").read_text())["best_epoch"]]
    assert manifest["epochs_run"] == len(run)
    assert manifest["seconds"] >= trial["seconds"].sum()


def test_a_trial_that_keeps_its_last_epoch_is_scored_by_it(train, folder):
    assert train(folder, 0, keep="last", fine_tune_rate=0.3, patience=0) == 0
    losses = pd.read_csv(folder / "0/history.csv")["val_loss"]
    assert json.loads((folder / "0/manifest.json").read_text())["val_loss"] == losses.iloc[-1] != losses.min()


def test_a_trial_whose_loss_is_no_number_has_no_score_and_is_no_failure(train, folder):
    assert train(folder, 2, head_epochs=0, fine_tune_rate=1e30) == 0
    manifest = json.loads((folder / "2/manifest.json").read_text())
    assert manifest["val_loss"] is None
    assert list(pd.read_csv(folder / "2/history.csv")) == list(HISTORY_COLUMNS)
    assert not list(folder.glob("checkpoints/*/*/*/trials/0/2/failure.txt"))
