"""Records of runs that were never trained, for tests of what is made from them."""

import json

from covbench.experiment.plan import DEEP, InputFiles, PlannedRun, Settings
from covbench.experiment.runs import RunRecord, RunState
from covbench.schema import Run


def plan_unknown(run, options=None):
    """A planned run of any name, also one that no catalogue knows."""
    return PlannedRun(run, DEEP, options, Settings(True, "auto"), InputFiles("split.parquet", "images.npy", "rows"))


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
