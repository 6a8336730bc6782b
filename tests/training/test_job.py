"""A training job that is killed, told to stop, repeated and disturbed: real processes, real signals."""

import json
import random
import signal
import time
from contextlib import suppress

import pytest

from tests.keras_processes import fork_with_keras
from tests.synthetic_run import draw_inputs, read_result, train_here


@pytest.fixture(scope="module")
def processes():
    return fork_with_keras()


@pytest.fixture
def folder(tmp_path):
    draw_inputs(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(processes, tmp_path_factory):
    """What a training that nobody disturbed, and that saved nothing on its way, leaves."""
    folder = tmp_path_factory.mktemp("undisturbed")
    draw_inputs(folder)
    assert finish(start(processes, folder, save_seconds=3600)) == 0
    return read_result(folder / "results")


def start(processes, folder, **choices):
    process = processes.Process(target=train_here, args=(str(folder),), kwargs=choices)
    process.start()
    return process


def finish(process):
    process.join(timeout=240)
    return process.exitcode


def log_of(folder):
    log = folder / "results.log"
    return log.read_text() if log.exists() else ""


def wait_for(condition):
    until = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def states_being_written(folder, process):
    return list(folder.glob(f"checkpoints/*/*/*/*/*/.{process.pid}.state-*"))


def kill_at_random(process, folder, chance):
    """SIGKILL after a random time, or while one of the next states is being written; whether half a state was left."""
    if chance.random() < 0.4:
        time.sleep(chance.uniform(0.1, 4.0))
    else:
        seen, number = set(), chance.randint(1, 8)
        while len(seen) < number and process.is_alive():
            with suppress(OSError):
                seen.update(states_being_written(folder, process))
    process.kill()
    process.join()
    return bool(states_being_written(folder, process))


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "half"), [(8, 1), pytest.param(20, 3, marks=pytest.mark.exhaustive)], ids=str)
def test_a_training_killed_at_random_ends_as_if_nothing_had_happened(processes, undisturbed, tmp_path, kills, half):
    chance = random.Random(0)
    killed = half_states = trainings = 0
    while killed < kills:
        trainings += 1
        folder = tmp_path / f"training {trainings}"
        folder.mkdir()
        draw_inputs(folder)
        while killed < kills and not (folder / "results/manifest.json").exists():
            process = start(processes, folder)
            half_states += kill_at_random(process, folder, chance)
            assert process.exitcode in (0, -signal.SIGKILL), log_of(folder)
            killed += process.exitcode != 0
        assert finish(start(processes, folder)) == 0, log_of(folder)
        assert read_result(folder / "results") == undisturbed
    assert half_states >= half, f"{killed} kills in {trainings} trainings left {half_states} half states"


def test_a_training_told_to_stop_saves_leaves_within_seconds_and_goes_on(processes, undisturbed, folder):
    for saves, told_after in ((3600, "epoch 0 head"), (3600, "resumes in epoch"), (0, "resumes in epoch")):
        process = start(processes, folder, save_seconds=saves)
        wait_for(lambda words=told_after: words in log_of(folder))
        time.sleep(0.3)
        told = time.monotonic()
        process.terminate()
        assert finish(process) == 75, log_of(folder)
        assert time.monotonic() - told < 10
        (folder / "results.log").unlink()
    assert finish(start(processes, folder)) == 0, log_of(folder)
    assert read_result(folder / "results") == undisturbed


def test_a_training_that_keeps_its_last_epoch_and_lowers_its_rate_goes_on_as_if_nothing_had_happened(
    processes, tmp_path
):
    changes = {"keep": "last", "plateau": True, "decay": 1.0, "patience": 0, "shuffle": False, "augmentation": "none"}
    changes |= {"head_epochs": 0, "fine_tune_epochs": 13, "fine_tune_rate": 1e-9}
    results = []
    for name, saves in (("whole", 3600), ("killed", 0)):
        folder = tmp_path / name
        folder.mkdir()
        draw_inputs(folder, 24)
        if name == "killed":
            process = start(processes, folder, changes=changes, save_seconds=saves)
            wait_for(lambda folder=folder: "epoch 11" in log_of(folder))
            process.kill()
            assert finish(process) == -signal.SIGKILL
        assert finish(start(processes, folder, changes=changes, save_seconds=saves)) == 0, log_of(folder)
        results.append(read_result(folder / "results"))
    assert results[0] == results[1]
    assert results[0]["best_epoch"] == 12
    assert results[0]["history"]["learning_rate"][-1] == pytest.approx(1e-10)


def test_two_processes_with_other_loader_threads_give_the_same_bits(processes, undisturbed, folder):
    assert finish(start(processes, folder, workers=1, save_seconds=3600)) == 0, log_of(folder)
    assert read_result(folder / "results") == undisturbed


def test_a_finished_run_started_again_trains_nothing_even_when_its_outputs_are_gone(processes, undisturbed, folder):
    assert finish(start(processes, folder)) == 0
    for path in (folder / "results").iterdir():
        path.unlink()
    assert finish(start(processes, folder)) == 0
    assert "not trained again" in log_of(folder)
    assert "epoch" not in log_of(folder)
    assert read_result(folder / "results") == undisturbed


def test_other_options_do_not_take_over_the_state_or_the_outputs_of_a_run(processes, folder):
    assert finish(start(processes, folder, changes={"fine_tune_epochs": 0})) == 0
    first = read_result(folder / "results")
    assert finish(start(processes, folder, changes={"fine_tune_epochs": 1})) == 0
    second = read_result(folder / "results")
    assert first["fingerprint"] != second["fingerprint"]
    assert (len(first["history"]["epoch"]), len(second["history"]["epoch"])) == (2, 3)


def test_a_second_process_on_the_same_run_stops_and_names_the_first(processes, folder):
    first = start(processes, folder)
    wait_for(lambda: list(folder.glob("checkpoints/*/*/*/*/*/state-*")))
    second = start(processes, folder, results="other")
    assert finish(second) == 1
    assert f"process {first.pid} on" in (folder / "other.log").read_text()
    assert not (folder / "other").exists()
    assert finish(first) == 0


def test_a_loss_that_is_no_number_publishes_no_model_and_names_batch_images_and_rate(processes, folder):
    wild = {"fine_tune_rate": 1e30, "decay": 1.0}
    assert finish(start(processes, folder, changes=wild, save_seconds=3600)) == 1
    said = log_of(folder)
    assert "epoch 2, batch " in said
    assert "at rate 1.00e+30 on image_" in said
    assert "Lower fine_tune_rate" in said
    assert not (folder / "results/model.keras").exists()
    assert not (folder / "results/manifest.json").exists()
    assert "Lower fine_tune_rate" in next((folder / "checkpoints").rglob("failure.txt")).read_text()


def train_where_no_more_than_five_images_fit(folder):
    """The allocator itself refuses: a layer asks for a petabyte when a training batch is larger."""
    import keras
    import tensorflow as tf

    from covbench.training import job as running

    class Narrow(keras.layers.Layer):
        def call(self, images, training=False):
            count = tf.shape(images)[0]
            asked = tf.where(tf.logical_and(count > 5, training), tf.constant(2**48, tf.int64), 1)
            return images + 0 * tf.reduce_sum(tf.fill([asked], 0.0))

    build = running.build_model

    def build_narrow(*arguments):
        model = build(*arguments)
        return keras.Model(model.inputs, model(Narrow()(model.inputs[0])))

    running.build_model = build_narrow
    train_here(folder, changes={"fine_tune_epochs": 1, "head_epochs": 1})


def test_a_batch_that_does_not_fit_into_memory_is_cut_in_two_and_the_manifest_says_so(processes, folder):
    process = processes.Process(target=train_where_no_more_than_five_images_fit, args=(str(folder),))
    process.start()
    assert finish(process) == 0, log_of(folder)
    assert "out of memory with batches of 8: trying two micro-batches per batch" in log_of(folder)
    manifest = json.loads((folder / "results/manifest.json").read_text())
    assert manifest["micro_batches"] == 2
    assert manifest["epochs_run"] == 2
    assert manifest["energy_kwh"] > 0
    assert manifest["energy_basis"] in ("estimated", "measured")  # GPUs are not used


@pytest.mark.slow
def test_a_frozen_backbone_with_dropout_goes_on_to_the_same_bits(processes, tmp_path):
    choices = {"architecture": "mobilenetv2_035", "changes": {"head_epochs": 2, "fine_tune_epochs": 2}}
    results = []
    for name, kills in (("undisturbed", 0), ("killed", 2)):
        folder = tmp_path / name
        folder.mkdir()
        draw_inputs(folder, 24)
        for number in range(1, kills + 1):
            process = start(processes, folder, **choices)
            wait_for(lambda folder=folder, number=number: log_of(folder).count("INFO epoch") >= number)
            process.kill()
            assert finish(process) == -signal.SIGKILL
        assert finish(start(processes, folder, **choices)) == 0, log_of(folder)
        results.append(read_result(folder / "results"))
    assert results[0] == results[1]
