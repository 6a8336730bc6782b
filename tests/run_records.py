"""Runs that were never trained: their records and files, for tests of what is made from them."""

import hashlib
import json
from pathlib import Path

import pandas as pd

from covbench.evaluation.predictions import write_scores
from covbench.experiment.plan import DEEP, InputFiles, PlannedRun, Settings
from covbench.experiment.provenance import describe_run, expect_inputs, fingerprint_inputs
from covbench.experiment.records import seal_record
from covbench.experiment.runs import RunRecord, RunState
from covbench.schema import Run
from covbench.system.files import hash_file, write_json, write_table

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
    leave_predictions(folder)


def finish_trial(root, planned, val_loss, edited=""):
    """Leave the manifest of a trial that has just finished. edited: as in finish_training."""
    inputs = expect_inputs(planned, root)
    if edited:
        inputs["code"][edited] = hashlib.sha256(b"before").hexdigest()
    facts = {"val_loss": val_loss, "epochs_run": 2, "seconds": 60.0}
    write_json(root / planned.run.folder / "manifest.json", describe_run(inputs, **facts))


def leave_predictions(folder, cases=None):
    """Write the predictions of these cases, without a validation fold; by default such that nobody looks into."""
    rows = pd.DataFrame({"image_id": ["a"]}) if cases is None else cases.assign(fold="test")
    write_table(folder / "predictions.parquet", rows)


def leave_scores(folder, metrics, cases):
    """Write the scores of a run's predictions, as the scoring of its manifest and its predictions writes them."""
    fingerprint = json.loads((folder / "manifest.json").read_text())["fingerprint"]
    made_from = {"predictions.parquet": hash_file(folder / "predictions.parquet")}
    scores = {**metrics, "fingerprint": fingerprint}, cases
    write_scores(folder / "metrics.json", folder / "cases.parquet", scores, made_from)


def rewrite_manifest(path, manifest):
    """Write a manifest as if the run had been trained with its inputs, and the scores as if they were of that run."""
    folder = Path(path).parent
    write_json(path, seal_record({**manifest, "fingerprint": fingerprint_inputs(manifest["inputs"])}))
    if (folder / "metrics.json").exists():
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        leave_scores(folder, metrics, pd.read_parquet(folder / "cases.parquet"))
