import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from covbench.evaluation.classification import evaluate_classification
from covbench.evaluation.comparison.compare import compare_runs
from covbench.evaluation.comparison.counterparts import read_counterparts
from covbench.evaluation.comparison.tables import COMPARE_TABLES
from covbench.evaluation.segmentation import evaluate_segmentation
from covbench.experiment.plan import plan_run
from covbench.experiment.provenance import describe_run, expect_inputs
from covbench.experiment.run_locks import lock_run, note_failure, run_checkpoints
from covbench.protocols import AUDITED, protocol_options
from covbench.schema import CLASSIFICATION, SEGMENTATION, CovbenchError, Run, Task
from covbench.system.files import read_table, write_json, write_table
from tests.run_records import leave_predictions, leave_scores

BINARY = Task("covid_ct", CLASSIFICATION, ("non_covid", "covid"), positive="covid")
LESIONS = Task("zenodo_infection", SEGMENTATION, ("background", "infection"), lesions=("infection",))
OPTIONS = replace(protocol_options(AUDITED, BINARY), size=224, head_rate=1e-4)
CONFIG = {"weights": "none", "deterministic": True, "precision": "float32", "threads": 1}
LITERATURE = pd.DataFrame(
    [("covid_ct", "own split", "xDNN", "f1", 0.97), ("radiography", "own split", "CNN", "accuracy", 0.98)],
    columns=["task", "protocol", "model", "metric", "value"],
)
RESOURCES = Path(__file__).parents[3] / "workflow" / "resources"
ALL_REPORTED, _ = read_counterparts(
    *(RESOURCES / f"{name}.csv" for name in ("published_results", "counterparts", "study_findings"))
)
REPORTED = ALL_REPORTED.query(
    "(task == 'covid_ct' and architecture == 'vgg16' and metric in ('accuracy', 'precision'))"
    "or (task == 'zenodo_infection' and architecture == 'unet' and backbone == 'vgg19' and metric == 'f1')"
    "or (task == 'radiography' and architecture == 'vgg16' and metric == 'accuracy')"
)
"""Four values of the study; radiography is not planned in these tests."""


def predict_rows(rng, number):
    patients = [f"p{k:02d}" for k in rng.choice(40, number)]
    table = pd.DataFrame({"image_id": [f"image{i}" for i in range(number)], "copy": 0, "patient_id": patients})
    table = table.assign(group=patients, duplicate_set=table["image_id"])
    return table.assign(source="north", fold="test", truth=-1, seed=1)


def score_run(run, skill):
    """Metrics and cases of predictions drawn with a given skill: 0 guesses, 1 knows."""
    rng = np.random.default_rng([run.seed, len(run.architecture)])
    rows = predict_rows(rng, 60)
    if run.task == BINARY.name:
        rows["truth"] = np.arange(60) % 2
        certain = np.where(rng.random(60) < 0.5 + skill / 2, rows["truth"], 1 - rows["truth"])
        rows["p_1"] = 0.2 + 0.5 * certain + 0.1 * rng.random(60)
        rows["p_0"] = 1 - rows["p_1"]
        return evaluate_classification(rows, BINARY)
    truth = (rng.random((60, 8, 8)) < 0.3).astype(np.uint8)
    guess = np.where(rng.random(truth.shape) < skill, truth, 0).astype(np.uint8)
    return evaluate_segmentation(rows, truth, guess, LESIONS)


def finish_run(root, run, skill=0.6, options=OPTIONS, **facts):
    metrics, cases = score_run(run, skill)
    write_manifest(root, run, options, seconds=12.5, parameters=7, **facts)
    leave_predictions(root / run.folder, cases)
    leave_scores(root / run.folder, metrics, cases)
    return metrics


def write_manifest(root, run, options, **facts):
    inputs = expect_inputs(plan_of([run], options)[0], root)
    write_json(root / run.folder / "manifest.json", describe_run(inputs, **facts))


def plan_of(runs, options=OPTIONS):
    return [plan_run(CONFIG, run, options) for run in runs]


@pytest.fixture
def grid(tmp_path):
    """Two seeds of a classifier and a baseline, two protocols of a segmenter, and one run that never finished."""
    runs = [Run("covid_ct", "audited", "vgg16", seed) for seed in (1, 2)]
    runs += [Run("covid_ct", "audited", "majority", 1)]
    runs += [Run("zenodo_infection", protocol, "unet_vgg19", 1) for protocol in ("published", "audited")]
    for run in runs:
        finish_run(tmp_path, run, options=OPTIONS)
    return tmp_path, plan_of([*runs, Run("covid_ct", "published", "vgg16", 1)])


def test_tables_have_the_agreed_columns_and_survive_csv(grid):
    root, plan = grid
    tables = compare_runs(plan, REPORTED, LITERATURE, root)
    assert tables.keys() == COMPARE_TABLES.keys() - {"external", "controls", "focus", "search", "findings"}
    for name in ("metrics", "summary", "published", "runs"):
        write_table(root / f"{name}.csv", tables[name])
        again = read_table(root / f"{name}.csv", COMPARE_TABLES[name])
        assert list(again.columns) == list(COMPARE_TABLES[name])
        assert len(again) == len(tables[name]) > 0
        for column, meaning in COMPARE_TABLES[name].items():
            assert again[column].dtype == meaning.dtype, f"{name}.{column}"


def test_every_score_stands_once_with_the_value_of_its_run_inside_its_interval(grid):
    root, plan = grid
    rows = compare_runs(plan, REPORTED, LITERATURE, root)["metrics"]
    assert not rows.duplicated(["task", "protocol", "architecture", "seed", "class", "metric"]).any()
    stored = json.loads((root / Run("covid_ct", "audited", "vgg16", 2).folder / "metrics.json").read_text())
    one = rows[(rows["architecture"] == "vgg16") & (rows["seed"] == 2)].set_index(["class", "metric"])
    assert one.loc[("", "auroc"), "value"] == stored["metrics"]["auroc"]
    assert one.loc[("covid", "recall"), "value"] == stored["per_class"]["covid"]["recall"]
    assert one.loc[("covid", "support"), "value"] == 30
    bounded = rows.dropna(subset="low")
    assert len(bounded) > 80
    assert ((bounded["low"] <= bounded["value"]) & (bounded["value"] <= bounded["high"])).all()


def test_an_undefined_score_keeps_its_reason_and_has_no_interval(tmp_path):
    run = Run("covid_ct", "audited", "vgg16", 1)
    rows = predict_rows(np.random.default_rng(0), 10).assign(truth=1, p_0=0.1, p_1=0.9)
    metrics, cases = evaluate_classification(rows, BINARY)
    write_manifest(tmp_path, run, OPTIONS)
    leave_predictions(tmp_path / run.folder, cases)
    leave_scores(tmp_path / run.folder, metrics, cases)
    tables = compare_runs(plan_of([run]), REPORTED, LITERATURE, tmp_path)
    auroc = tables["metrics"].set_index(["class", "metric"]).loc[("", "auroc")]
    assert auroc["reason"] == "only one class in the test fold"
    assert pd.isna(auroc["value"])
    assert pd.isna(auroc["low"])
    mean = tables["summary"].set_index("metric").loc["auroc"]
    assert mean["seeds"] == 0
    assert pd.isna(mean["mean"])


def test_the_summary_averages_seeds_and_its_interval_is_narrower_than_theirs(grid):
    root, plan = grid
    tables = compare_runs(plan, REPORTED, LITERATURE, root)
    seeds = tables["metrics"].query("architecture == 'vgg16' and metric == 'accuracy'")
    mean = tables["summary"].query("architecture == 'vgg16' and metric == 'accuracy'").iloc[0]
    first, second = seeds["value"]
    assert mean["seeds"] == 2
    assert mean["mean"] == pytest.approx((first + second) / 2)
    assert mean["sd"] == pytest.approx(abs(first - second) / 2**0.5)
    assert mean["low"] < mean["mean"] < mean["high"]
    assert mean["high"] - mean["low"] < (seeds["high"] - seeds["low"]).mean()
    single = tables["summary"].query("architecture == 'unet_vgg19' and metric == 'dice_lesion'").iloc[0]
    assert single["seeds"] == 1
    assert pd.isna(single["sd"])


def test_a_missing_run_is_a_row_that_says_what_is_missing(grid):
    root, plan = grid
    runs = compare_runs(plan, REPORTED, LITERATURE, root)["runs"].set_index(["protocol", "architecture", "seed"])
    absent = runs.loc[("published", "vgg16", 1)]
    assert (absent["state"], absent["reason"]) == ("missing", "no manifest.json, predictions.parquet")
    done = runs.loc[("audited", "majority", 1)]
    assert (done["state"], done["family"], done["seconds"], done["images"]) == ("scored", "baseline", 12.5, 60)
    assert (runs["state"] == "scored").sum() == 5


def test_a_run_that_is_being_trained_and_one_whose_training_failed_say_so(grid, monkeypatch):
    root, plan = grid
    monkeypatch.chdir(root)
    run = Run("covid_ct", "published", "vgg16", 1)
    with lock_run(run_checkpoints(run)):
        assert compare_runs(plan, REPORTED, LITERATURE, root)["runs"]["state"].tolist()[-1] == "running"
    with pytest.raises(MemoryError), note_failure(run):
        raise MemoryError("a batch of 32")
    row = compare_runs(plan, REPORTED, LITERATURE, root)["runs"].iloc[-1]
    assert (row["state"], row["reason"]) == ("failed", "MemoryError: a batch of 32")


def test_a_run_whose_files_cannot_be_read_is_a_failed_row(grid):
    root, plan = grid
    (root / Run("covid_ct", "audited", "vgg16", 1).folder / "metrics.json").write_text("{")
    tables = compare_runs(plan, REPORTED, LITERATURE, root)
    row = tables["runs"].query("architecture == 'vgg16' and protocol == 'audited' and seed == 1").iloc[0]
    assert row["state"] == "failed"
    assert "vgg16/1/metrics.json cannot be read" in row["reason"]
    assert set(tables["metrics"].query("architecture == 'vgg16'")["seed"]) == {2}


def test_a_run_trained_with_other_options_is_refused_by_name(tmp_path):
    run = Run("covid_ct", "audited", "vgg16", 1)
    finish_run(tmp_path, run)
    with pytest.raises(CovbenchError, match=r"results/runs/covid_ct/audited/vgg16/1: size 224 \(planned 320\)"):
        compare_runs(plan_of([run], replace(OPTIONS, size=320)), REPORTED, LITERATURE, tmp_path)


def test_a_partial_comparison_shows_a_stale_run_with_its_reason_and_none_of_its_scores(grid):
    root, plan = grid
    stale = plan_of([Run("covid_ct", "audited", "vgg16", 1)], replace(OPTIONS, head_rate=0.5))
    tables = compare_runs([*stale, *plan[1:]], REPORTED, LITERATURE, root, partial=True)
    row = tables["runs"].query("state == 'stale'")
    assert row[["architecture", "seed", "reason"]].to_numpy().tolist() == [
        ["vgg16", 1, "head_rate 0.0001 (planned 0.5)"]
    ]
    assert set(tables["metrics"].query("architecture == 'vgg16'")["seed"]) == {2}


def test_nothing_finished_gives_tables_without_rows_but_with_the_missing_runs(tmp_path):
    tables = compare_runs(plan_of([Run("covid_ct", "audited", "vgg16", 1)]), REPORTED, LITERATURE, tmp_path)
    assert len(tables["metrics"]) == len(tables["summary"]) == 0
    assert tables["runs"]["state"].tolist() == ["missing"]
    assert tables["published"]["value_audited"].isna().all()


def test_reported_values_stand_beside_ours_with_the_difference(grid):
    root, plan = grid
    tables = compare_runs(plan, REPORTED, LITERATURE, root)
    rows = tables["published"].set_index(["task", "metric"])
    means = tables["summary"].set_index(["task", "protocol", "architecture", "metric"])["mean"]
    accuracy = rows.loc[("covid_ct", "accuracy")]
    assert accuracy["value_audited"] == means["covid_ct", "audited", "vgg16", "accuracy"]
    assert pd.isna(accuracy["value_published"])
    assert pd.isna(accuracy["difference"])
    assert ("radiography", "accuracy") not in rows.index  # not planned
    assert tables["literature"]["model"].tolist() == ["xDNN"]
    assert (rows.loc["covid_ct", "definition"] != "").all()


def test_runs_of_one_task_are_drawn_alike(grid):
    root, plan = grid
    twin = Run("covid_ct", "audited", "vgg19", 1)
    finish_run(root, twin)
    metrics = compare_runs(plan + plan_of([twin]), REPORTED, LITERATURE, root)["metrics"]
    pair = [metrics.query("architecture == @name and seed == 1") for name in ("vgg16", "vgg19")]
    assert pair[0]["low"].tolist() == pytest.approx(pair[1]["low"].tolist(), nan_ok=True)
