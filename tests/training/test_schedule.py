"""The phases of a training, and that a forecast reads them without TensorFlow."""

import subprocess
import sys
from dataclasses import replace

from covbench.protocols import AUDITED, protocol_options
from covbench.schema import Task
from covbench.training.schedule import plan_phases

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
