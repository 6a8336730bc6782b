"""A small plan whose runs are finished, stale and missing, as files alone."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from covbench.experiment.config import read_config
from covbench.experiment.plan import describe_plan
from covbench.experiment.provenance import describe_run, gather_inputs
from covbench.schema import Run
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
    """A folder with config.yaml. vgg16: seed 0 finished, 1 with another batch size, 2 missing. majority: edited code."""
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
    """The plan of folder/config.yaml by architecture and seed."""
    plan = describe_plan(read_config(folder / "config.yaml"))
    return {(entry["architecture"], entry["seed"]): entry for entry in plan}


def finish(root, entry, edited=""):
    """Leave what a finished training leaves; edited: a module whose code was another then."""
    run = Run(entry["task"], entry["protocol"], entry["architecture"], entry["seed"])
    inputs = json.loads(json.dumps(gather_inputs(run, entry["options"], entry["files"], entry["settings"], root)))
    if edited:
        assert edited in inputs["code"]
        inputs["code"][edited] = hashlib.sha256(b"before").hexdigest()
    write_json(root / entry["folder"] / "manifest.json", describe_run(inputs))
    (root / entry["folder"] / "predictions.parquet").touch()
