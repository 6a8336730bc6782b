"""The pipeline on the real samples of all seven tasks, with config/sample.yaml, and what it has to show.

`audited` runs whole, on one seed, with one or two networks a task, and an epoch where no test looks at the scores.
`published` is represented by its splits and baselines, since its trainings would double the time.
`make sample MIRROR=../shared/data` runs both on three seeds.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT.parent / "shared" / "data"
BASELINES = {
    "ieee8023_xray": "hog_logistic",
    "covid_ct": "hog_logistic",
    "sarscov2_ct": "hog_logistic",
    "radiography": "hog_logistic",
    "zenodo_infection": "lung_threshold",
    "zenodo_multiclass": "lung_threshold",
    "medseg_multiclass": "lung_threshold",
}

ONE_EPOCH = {"fine_tune_epochs": 1}
SHORTER = {
    "seeds": [0],
    "tracking": {"live": False},
    "architectures": {
        "classification": ["mobilenetv2_035"],
        "covid_ct": ["mobilenetv2"],
        "segmentation": [],
        "zenodo_infection": ["unet_small"],
        "zenodo_multiclass": ["unet_small"],
        "medseg_multiclass": ["unet_mobilenetv2"],
    },
    "contestants": {"radiography": ["hog_svm"]},
    "options": {"audited": {"zenodo_infection": ONE_EPOCH, "zenodo_multiclass": ONE_EPOCH}},
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/data is not here: no real sample to run on"),
]


def run_sample(folder, *targets, protocols):
    """Run config/sample.yaml, made shorter, on the samples in `folder`."""
    shorter = folder / "shorter.yaml"
    shorter.write_text(yaml.safe_dump(SHORTER))
    command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--configfile", ROOT / "config/sample.yaml", shorter, "--cores", "2", "--resources", "gpu=2"]
    command += ["--config", f"protocols={protocols}"]
    command += [f"fetch={{mirror: '{SAMPLES}'}}", f"weights={{mirror: '{SAMPLES / 'weights'}'}}"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """A folder in which the audited runs of all seven tasks have finished, from the mirror to the report."""
    folder = tmp_path_factory.mktemp("real samples")
    run_sample(folder, "all", protocols="[audited]")
    return folder


@pytest.fixture(scope="module")
def summary(sample):
    table = pd.read_csv(sample / "results/compare/summary.csv")
    return table.set_index(["task", "protocol", "architecture", "metric"])


def test_every_planned_run_finished(sample):
    runs = pd.read_csv(sample / "results/compare/runs.csv")
    assert (runs["state"] == "scored").all(), runs[runs["state"] != "scored"]
    contestants = 4 * (1 + 2) + 1 + 1 + 3 * (1 + 1)
    assert len(runs) == contestants * len(SHORTER["seeds"])


def test_no_log_has_a_line_of_tensorflow_about_its_start_its_graphs_or_its_deprecated_ways(sample):
    logs = sorted((sample / "logs").rglob("*.log"))
    lines = [f"{path.name}: {line}" for path in logs for line in path.read_text(errors="replace").splitlines()]
    assert any(" INFO epoch " in line for line in lines)
    assert [line for line in lines if re.search("absl|retracing|trackable_obj", line)] == []


def test_tables_and_report_name_the_weights_that_are_not_the_published_ones(sample, summary):
    weights = summary.reset_index().groupby("architecture")["weights"].agg(set).to_dict()
    assert weights["mobilenetv2"] == weights["unet_mobilenetv2"] == {"mobilenetv2_dequantised.h5"}
    assert weights["mobilenetv2_035"] == {"keras_mobilenetv2_035.h5"}
    assert weights["unet_small"] == weights["lung_threshold"] == {"none"}
    external = pd.read_csv(sample / "results/compare/external.csv").set_index("architecture")
    assert set(external.loc[["mobilenetv2", "unet_mobilenetv2"], "weights"]) == {"mobilenetv2_dequantised.h5"}
    page = (sample / "results/report/index.html").read_text()
    assert "mobilenetv2: trained from mobilenetv2_dequantised.h5, not from the published ImageNet file." in page


def test_a_frozen_mobilenet_with_imagenet_weights_tells_the_three_classes_of_radiography(summary):
    row = summary.loc[("radiography", "audited", "mobilenetv2_035", "accuracy")]
    assert row["seeds"] == len(SHORTER["seeds"])
    assert row["mean"] >= 0.85


def test_on_patients_never_seen_covid_ct_is_better_than_chance(summary):
    row = summary.loc[("covid_ct", "audited", "mobilenetv2_035", "auroc")]
    assert row["mean"] >= 0.65
    assert row["low"] > 0.5


def test_covid_ct_is_split_as_its_authors_published(sample):
    split = pd.read_parquet(sample / "data/splits/covid_ct/audited/0.parquet")
    assert split.groupby(["label", "fold"]).size().to_dict() == {
        (0, "train"): 118,
        (0, "val"): 28,
        (0, "test"): 54,
        (1, "train"): 102,
        (1, "val"): 43,
        (1, "test"): 56,
    }
    assert split.groupby("patient_id")["fold"].nunique().max() == 1


def test_a_unet_on_an_imagenet_encoder_beats_the_threshold_on_medseg(summary):
    unet = summary.loc[("medseg_multiclass", "audited", "unet_mobilenetv2", "dice_lesion")]
    threshold = summary.loc[("medseg_multiclass", "audited", "lung_threshold", "dice_lesion")]
    assert unet["mean"] > threshold["mean"]


@pytest.mark.parametrize("task", BASELINES)
def test_the_audited_split_of_every_task_leaks_nothing(sample, task):
    audit = pd.read_csv(sample / "results/audit/splits.csv")
    audited = audit[(audit["task"] == task) & (audit["protocol"] == "audited")]
    assert len(audited) > 0
    assert (audited["leaked"] == 0).all()


def test_every_network_is_tested_on_each_other_dataset_that_fits(sample):
    external = pd.read_csv(sample / "results/compare/external.csv", keep_default_na=False)
    assert set(zip(external["task"], external["tested_on"], strict=True)) == {
        ("ieee8023_xray", "radiography"),
        ("radiography", "ieee8023_xray"),
        ("covid_ct", "sarscov2_ct"),
        ("sarscov2_ct", "covid_ct"),
        ("zenodo_infection", "medseg_multiclass"),
        ("zenodo_multiclass", "medseg_multiclass"),
        ("medseg_multiclass", "zenodo_infection"),
    }
    assert (external[["internal", "external", "drop"]] != "").all(axis=None)
    contestant = external[(external["architecture"] == "hog_svm") & (external["metric"] == "auroc")]
    assert contestant[["task", "tested_on"]].to_numpy().tolist() == [["radiography", "ieee8023_xray"]]
    auroc = external[(external["task"] == "radiography") & (external["metric"] == "auroc")].iloc[0]
    assert (auroc["duplicates"], auroc["removed"], auroc["images"]) == (1, 3, 188)


def test_the_report_shows_every_task_and_names_what_was_excluded(sample):
    page = (sample / "results/report/index.html").read_text()
    for task in BASELINES:
        assert task in page
    assert "lateral view" in page


def test_the_published_splits_leak_and_their_augmented_copies_are_scored(sample):
    targets = [f"results/runs/{task}/published/{name}/0/metrics.json" for task, name in BASELINES.items()]
    run_sample(sample, *targets, protocols="[published]")
    split = pd.read_parquet(sample / "data/splits/zenodo_infection/published/0.parquet")
    folds = split.groupby("image_id")["fold"].nunique()
    assert split["copy"].max() == 1
    assert (folds > 1).any()
    metrics = json.loads((sample / targets[4]).read_text())
    assert metrics["images"] == (split["fold"] == "test").sum()
    patients = pd.read_parquet(sample / "data/splits/ieee8023_xray/published/0.parquet").groupby("patient_id")["fold"]
    assert (patients.agg(lambda folds: {"train", "test"} <= set(folds))).any()
