"""The phases of a training, and that a forecast reads them without TensorFlow."""

import random
import subprocess
import sys
from dataclasses import replace

from covbench.protocols import AUDITED, protocol_options
from covbench.schema import Task
from covbench.training.schedule import plan_phases, reduce_on_plateau

BINARY = Task("drawn", "classification", ("dark", "bright"), positive="bright")


def test_the_head_comes_first_and_then_everything():
    options = replace(
        protocol_options(AUDITED, BINARY), head_epochs=2, head_rate=0.5, fine_tune_epochs=7, fine_tune_rate=0.25
    )
    assert plan_phases(options) == (("head", 2, 0.5), ("fine_tune", 7, 0.25))


def test_a_forecast_shares_the_constants_of_a_training_without_tensorflow():
    program = "import sys, covbench.operations.forecast; print(sorted({'keras', 'tensorflow'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_rate_falls_on_a_plateau_exactly_as_keras_lowers_it():
    import keras

    chance = random.Random(0)
    for losses in (
        [1.0] * 45,
        [1.0, 0.5] + [0.49995] * 30,  # better by less than min_delta: no improvement
        [1 - number / 50 for number in range(40)],
        [chance.uniform(0.3, 0.5) for _ in range(200)],
    ):
        callback, optimizer = keras.callbacks.ReduceLROnPlateau(), keras.optimizers.Adam(1e-4)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(optimizer=optimizer, loss="mse")
        callback.set_model(model)
        callback.on_train_begin()
        for epoch, loss in enumerate(losses):
            callback.on_epoch_end(epoch, {"val_loss": loss})
            assert reduce_on_plateau(1e-4, losses[: epoch + 1]) == float(optimizer.learning_rate)


def test_ten_epochs_without_a_better_loss_divide_the_rate_by_ten():
    assert [round(reduce_on_plateau(1e-4, [1.0] * epochs), 9) for epochs in (0, 10, 11, 20, 21)] == [
        1e-4,
        1e-4,
        1e-5,
        1e-5,
        1e-6,
    ]
