"""Runs that were never trained: their records and files, for tests of what is made from them."""

import hashlib
import json

from covbench.experiment.plan import DEEP, InputFiles, PlannedRun, Settings
from covbench.experiment.provenance import describe_run, expect_inputs
from covbench.experiment.runs import RunRecord, RunState
from covbench.schema import Run
from covbench.system.files import write_json

ONE_NETWORK = {
    "tasks": ["covid_ct"],
    "architectures": {"classification": ["vgg16"], "segmentation": []},
    "baselines": {"classification": ["majority"], "segmentation": []},
    "protocols": ["audited"],
    "seeds": [0, 1, 2],
    "weights": "none",
}
"""A config of six runs: a network and a baseline, three seeds."""


def plan_unknown(run, options=None):
    """A planned run of any name, also one that no catalogue knows."""
    return PlannedRun(
        run, DEEP, options, Settings(True, "float32", 1), InputFiles("split.parquet", "images.npy", "rows")
    )


def score_record(run, metrics, cases=None):
    """The record of a scored run that has these metrics and cases."""
    record = RunRecord(plan_unknown(run), RunState.SCORED, metrics=metrics)
    if cases is not None:
        vars(record)["cases"] = cases  # where the record keeps what it has read
    return record


def leave_run(root, manifest, metrics, history=None):
    """Write the files that a scored run leaves in its folder below `root`, and return its record."""
    record = RunRecord(plan_unknown(Run(**manifest["run"])), RunState.SCORED, root, manifest=manifest, metrics=metrics)
    record.folder.mkdir(parents=True, exist_ok=True)
    (record.folder / "manifest.json").write_text(json.dumps(manifest))
    (record.folder / "metrics.json").write_text(json.dumps(metrics))
    if history is not None:
        history.to_csv(record.folder / "history.csv", index=False)
    return record


def finish_training(root, planned, edited=""):
    """Leave what a training leaves that has just finished; edited: a module whose code was another then."""
    inputs = expect_inputs(planned, root)
    if edited:
        assert edited in inputs["code"]
        inputs["code"][edited] = hashlib.sha256(b"before").hexdigest()
    folder = root / planned.run.folder
    write_json(folder / "manifest.json", describe_run(inputs, seconds=60.0))
    (folder / "predictions.parquet").touch()
