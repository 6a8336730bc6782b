"""What a training saves, when, and that a kill at any point of any phase changes no bit of what it ends with."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from covbench.protocols import EVERY_EPOCH
from covbench.system.energy import Use
from covbench.system.signals import Interruption
from covbench.training import state
from covbench.training.checkpoints import load_state
from covbench.training.devices import set_precision
from covbench.training.fit import seed_everything, train_model
from covbench.training.state import Checkpointer, Progress, leave_out_frozen, pause_after
from tests.training.test_fit import OPTIONS, drawn_folds

ROOT = Path(__file__).resolve().parents[2]
TWO_PHASES = replace(OPTIONS, head_epochs=2, head_rate=3e-3, fine_tune_epochs=2, patience=0, augmentation="affine")
EVERY = 7  # safe points between two kills


def build_model(seed=0):
    """A classifier with a small pretrained part. Both parts have dropout."""
    seed_everything(seed, deterministic=True)
    convolutions = [layers.Conv2D(8, 3, strides=4), layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.2)]
    backbone = keras.Sequential([keras.Input((32, 32, 3)), *convolutions], name="backbone")
    dense = [layers.Flatten(dtype="float32"), layers.Dropout(0.25, dtype="float32"), layers.Dense(4, dtype="float32")]
    dense += [layers.Dense(2, dtype="float32", name="logits"), layers.Activation("softmax", dtype="float32")]
    head = keras.Sequential([keras.Input(backbone.output_shape[1:]), *dense], name="head")
    images = keras.Input((32, 32, 3), dtype="float32")
    scaled = layers.Rescaling(1 / 255, name="scaling")(images)
    return keras.Model(images, head(backbone(scaled)))


class Killed(BaseException):
    """Ends a training as SIGKILL does: nothing is saved or tidied up after it."""


class KilledCheckpointer(Checkpointer):
    """Saves at every safe point, and is killed after some of them."""

    def __init__(self, folder, after):
        super().__init__(folder, Interruption())
        self.left = after

    def safe_point(self, model, network, progress):
        super().safe_point(model, network, progress)
        self.count()

    def save_kept(self, model, progress):
        self.worked()  # the safe point before it has just saved
        super().save_kept(model, progress)
        self.count()

    def count(self):
        self.left -= 1
        if not self.left:
            raise Killed


def train(options, checkpointer=None, micro_batches=1):
    """Train the small classifier in a process of its own, as far as Keras is concerned: its weights and curves."""
    keras.backend.clear_session()
    model = build_model()
    train_fold, val, _ = drawn_folds()
    progress = train_model(model, train_fold, val, options, 0, lambda curves: None, checkpointer, micro_batches)
    return [weight.copy() for weight in model.get_weights()], progress


def train_with_kills(folder, options, micro_batches=1):
    """The same, killed again and again; how often, and in which phases."""
    phases = []
    while True:
        try:
            return *train(options, KilledCheckpointer(folder, EVERY), micro_batches), phases
        except Killed:
            phases.append(load_state(folder)[1]["phase"])


def compare(folder, options, micro_batches=1):
    """Train without and with kills: the best epoch, and whether both end with the same bits."""
    weights, progress = train(options, micro_batches=micro_batches)
    others, again, phases = train_with_kills(folder, options, micro_batches)
    same = all(np.array_equal(one, other) for one, other in zip(weights, others, strict=True))
    curves = [run.table().drop(columns="seconds") for run in (progress, again)]
    return {"phases": sorted(set(phases)), "best": progress.best_epoch, "same": same and curves[0].equals(curves[1])}


@pytest.fixture
def _every_step(monkeypatch, tmp_path):
    monkeypatch.setattr(state, "pause_after", lambda size, cost=0.0: 0)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_every_step")
@pytest.mark.parametrize(
    ("precision", "micro_batches", "changes"),
    [
        ("float32", 1, {"augmented_views": 2}),
        ("mixed_float16", 2, {"augmented_views": EVERY_EPOCH}),  # with scaling of the loss
        ("float32", 1, {"augmented_views": EVERY_EPOCH, "keep": "last"}),
    ],
    ids=["features", "mixed precision in micro-batches", "last epoch"],
)
def test_a_training_killed_in_both_phases_ends_with_the_same_bits(tmp_path, precision, micro_batches, changes):
    set_precision(precision)
    try:
        found = compare(tmp_path, replace(TWO_PHASES, **changes), micro_batches)
    finally:
        set_precision("float32")
    assert found["phases"] == ["fine_tune", "head"]
    assert found["same"]


@pytest.mark.usefixtures("_every_step")
def test_the_best_epoch_of_the_head_comes_back_whole_after_kills_in_the_next_phase(tmp_path):
    found = compare(tmp_path, replace(TWO_PHASES, fine_tune_rate=0.5, augmented_views=EVERY_EPOCH))
    assert found["best"] < TWO_PHASES.head_epochs, "fine-tuning has to spoil the model to show anything"
    assert found["phases"] == ["fine_tune", "head"]
    assert found["same"]


ON_JAX = """
import json, sys
from dataclasses import replace
from pathlib import Path
from covbench.training import state
from covbench.training.devices import set_precision
from tests.training.test_state import TWO_PHASES, compare
set_precision("float32")
state.pause_after = lambda size, cost=0.0: 0
print(json.dumps(compare(Path("states"), replace(TWO_PHASES, augmented_views=2))))
"""


@pytest.mark.slow
def test_a_training_on_jax_killed_in_both_phases_ends_with_the_same_bits(tmp_path):
    pytest.importorskip("jax", reason="jax is not installed")
    variables = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", ON_JAX],
        cwd=tmp_path,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["phases"] == ["fine_tune", "head"]
    assert found["same"]


@pytest.mark.usefixtures("_every_step")
def test_a_state_of_the_head_leaves_the_frozen_backbone_out_and_keeps_its_generators(tmp_path):
    with pytest.raises(Killed):
        train(replace(TWO_PHASES, augmented_views=EVERY_EPOCH), KilledCheckpointer(tmp_path, EVERY))
    arrays, facts = load_state(tmp_path)
    assert facts["phase"] == "head"
    model = build_model()
    head = [tuple(weight.shape) for weight in model.get_layer("head").weights]
    assert [array.shape for array in arrays["best"]] == head
    generators = [(2,), (2,)]  # of the dropout in both parts
    assert sorted(array.shape for array in arrays["model"]) == sorted([*head, *generators])
    assert len(leave_out_frozen(model.variables, model, "fine_tune")) == len(model.variables)


def test_a_training_that_is_over_is_saved_as_its_kept_weights_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "pause_after", lambda size, cost=0.0: 3600)
    options = replace(TWO_PHASES, augmented_views=EVERY_EPOCH)
    weights, _ = train(options, Checkpointer(tmp_path, Interruption()))
    arrays, _ = load_state(tmp_path)
    assert set(arrays) == {"model"}
    stored = sorted(tmp_path.iterdir())
    again, progress = train(options, Checkpointer(tmp_path, Interruption()))
    assert all(np.array_equal(one, other) for one, other in zip(weights, again, strict=True))
    assert len(progress.history) == 4
    assert sorted(tmp_path.iterdir()) == stored, "there was nothing new to save"


def test_the_energy_of_earlier_processes_is_added_after_a_restart(tmp_path):
    model = build_model()
    for spent, kept in ((Use(5.0, 7.0), True), (Use(complete=False), False)):
        first = Checkpointer(tmp_path, Interruption())
        first.worked()
        first.save_kept(model, Progress(phase="head", energy_before=spent))
        second = Checkpointer(tmp_path, Interruption())
        summed = second.sum_energy(second.resume(model))
        assert summed.complete is kept
        assert summed.joules >= spent.joules
        assert spent.processor_seconds < summed.processor_seconds < spent.processor_seconds + 60


def test_a_state_of_another_version_is_named_and_the_training_starts_anew(tmp_path, caplog):
    contents = json.dumps({"arrays": ["model_00000"], "facts": {"phase": "head"}}).encode()
    old = tmp_path / "state-000001.npz"
    np.savez(old, contents=np.frombuffer(contents, np.uint8), model_00000=np.zeros(3))
    assert Checkpointer(tmp_path, Interruption()).resume(build_model()) == Progress()
    assert f"{old} cannot be used (another version of covbench wrote it)" in caplog.text


@pytest.mark.parametrize(
    ("size", "cost", "seconds"),
    [
        (10e6, 0.1, 60),
        (100e6, 0.5, 240),
        (518e6, 1.5, 900),
        (5e9, 20, 900),
        (5e9, 100, 2000),
    ],
    ids=["small", "a DenseNet", "a head of 32 million", "huge", "a slow disk"],
)
def test_large_states_are_written_seldom(size, cost, seconds):
    assert pause_after(size, cost) == pytest.approx(seconds)
