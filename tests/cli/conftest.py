"""A small plan whose runs are finished, stale and missing, as files alone."""

from pathlib import Path

import pytest
import yaml

from covbench.experiment.config import read_config
from covbench.experiment.plan import plan_runs
from tests.run_records import ONE_NETWORK, finish_training

RUNS = "results/runs/covid_ct/audited/vgg16"


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    """A folder with config.yaml and runs. vgg16: seed 0 trained, 1 with another batch size; majority: edited code."""
    other = ONE_NETWORK | {"options": {"audited": {"classification": {"batch_size": 7}}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(other))
    stale = plan_of(tmp_path)[("vgg16", 1)]
    finish_training(tmp_path, stale)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(ONE_NETWORK))
    plan = plan_of(tmp_path)
    finish_training(tmp_path, plan[("vgg16", 0)])
    for seed in ONE_NETWORK["seeds"]:
        finish_training(tmp_path, plan[("majority", seed)], edited="covbench.models.baselines")
    return tmp_path


def plan_of(folder):
    """The planned runs of folder/config.yaml by architecture and seed."""
    plan = plan_runs(read_config(folder / "config.yaml"))
    return {(planned.run.architecture, planned.run.seed): planned for planned in plan}
