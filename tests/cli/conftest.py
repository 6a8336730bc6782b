"""A small plan whose runs are finished, stale and missing, as files alone."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from covbench.experiment.config import read_config
from covbench.experiment.plan import plan_runs
from covbench.experiment.provenance import describe_run, gather_inputs
from covbench.system.files import write_json

CONFIG = {
    "tasks": ["covid_ct"],
    "architectures": {"classification": ["vgg16"], "segmentation": []},
    "baselines": {"classification": ["majority"], "segmentation": []},
    "protocols": ["audited"],
    "seeds": [0, 1, 2],
    "weights": "none",
}
RUNS = "results/runs/covid_ct/audited/vgg16"


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    """A folder with config.yaml and runs. vgg16: seed 0 trained, 1 with another batch size; majority: edited code."""
    other = CONFIG | {"options": {"audited": {"classification": {"batch_size": 7}}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(other))
    stale = plan_of(tmp_path)[("vgg16", 1)]
    finish(tmp_path, stale)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    plan = plan_of(tmp_path)
    finish(tmp_path, plan[("vgg16", 0)])
    for seed in CONFIG["seeds"]:
        finish(tmp_path, plan[("majority", seed)], edited="covbench.models.baselines")
    return tmp_path


def plan_of(folder):
    """The planned runs of folder/config.yaml by architecture and seed."""
    plan = plan_runs(read_config(folder / "config.yaml"))
    return {(planned.run.architecture, planned.run.seed): planned for planned in plan}


def finish(root, planned, edited=""):
    """Leave what a finished training leaves; edited: a module whose code was another then."""
    described = planned.describe()
    inputs = gather_inputs(planned.run, described["options"], described["files"], described["settings"], root)
    inputs = json.loads(json.dumps(inputs))
    if edited:
        assert edited in inputs["code"]
        inputs["code"][edited] = hashlib.sha256(b"before").hexdigest()
    write_json(root / planned.run.folder / "manifest.json", describe_run(inputs, seconds=60.0))
    (root / planned.run.folder / "predictions.parquet").touch()
