"""A run's stored predictions, scored from file to file."""

import json

import numpy as np
import pandas as pd
import pytest

from covbench.data.datasets import TASKS
from covbench.evaluation.score import score_run
from covbench.experiment.provenance import decide_inputs, describe_run
from covbench.schema import PREDICTION_COLUMNS, Run
from covbench.system.files import write_json, write_table


def write_predictions(folder, task):
    """Eight test images of four patients in three groups."""
    names = [f"p{number // 2}" for number in range(8)]
    groups = ["p0" if name == "p1" else name for name in names]
    table = pd.DataFrame({"image_id": [f"i{number}" for number in range(8)], "patient_id": names, "group": groups})
    table = table.assign(copy=0, duplicate_set=table["image_id"], source="", fold="test", seed=0)
    table["truth"] = np.arange(8) % len(task.classes)
    shares = np.full((8, len(task.classes)), 1 / len(task.classes))
    probabilities = {f"p_{number}": shares[:, number] for number in range(len(task.classes))}
    write_table(folder / "predictions.parquet", table[list(PREDICTION_COLUMNS)].assign(**probabilities))


@pytest.mark.parametrize(("name", "patients"), [("covid_ct", 4), ("sarscov2_ct", None), ("radiography", None)])
def test_patients_are_counted_only_where_they_are_published_and_groups_always(name, patients, tmp_path):
    run = Run(name, "audited", "majority", 0)
    write_predictions(tmp_path / run.folder, TASKS[name])
    write_json(tmp_path / run.folder / "manifest.json", describe_run(decide_inputs(run, {}, {})))
    score_run(run, "", None, tmp_path)
    metrics = json.loads((tmp_path / run.folder / "metrics.json").read_text())
    assert (metrics["images"], metrics["patients"], metrics["groups"]) == (8, patients, 3)
    cases = pd.read_parquet(tmp_path / run.folder / "cases.parquet")
    assert cases["group"].tolist() == ["p0"] * 4 + ["p2", "p2", "p3", "p3"]
    assert cases["duplicate_set"].tolist() == cases["image_id"].tolist()
