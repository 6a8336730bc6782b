"""The log of a real training, in a process of its own, holds what a user can use and nothing else."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.synthetic_run import draw_inputs

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """
import sys
from tests.synthetic_run import train_here
changes = {"head_epochs": 1, "fine_tune_epochs": 1, "augmented_views": 1, "head": "pooled_logits"}
train_here(sys.argv[1], architecture="mobilenetv2_035", changes=changes, save_seconds=3600)
"""


def test_every_line_in_the_log_of_a_training_is_one_of_covbench(tmp_path):
    """No line of TensorFlow about loading, retracing or its deprecated ways: `trackable_obj` comes with features."""
    draw_inputs(tmp_path)
    paths = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", TRAIN, str(tmp_path)], env=paths, capture_output=True, timeout=600)
    lines = (tmp_path / "results.log").read_text().splitlines()
    assert done.returncode == 0, lines
    assert [line for line in lines if not re.match(r"\d\d:\d\d:\d\d INFO ", line) or "converter" in line] == []
    assert sum(bool(re.search(r" INFO epoch \d+ ", line)) for line in lines) == 2
