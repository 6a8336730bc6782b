"""The pipeline on the real samples of all seven tasks, `make sample MIRROR=../shared/data`, and what it has to show."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT.parent / "shared" / "data"
CLASSIFICATION = ("ieee8023_xray", "covid_ct", "sarscov2_ct", "radiography")
SEGMENTATION = ("zenodo_infection", "zenodo_multiclass", "medseg_multiclass")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SAMPLES.is_dir(), reason="../shared/data is not here: no real sample to run on"),
]


@pytest.fixture(scope="module")
def summary():
    """results/compare/summary.csv of the sample; a finished run of the same commit's folder is taken up."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [shutil.which("make"), "sample", "MIRROR=../shared/data"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return pd.read_csv(ROOT / "sample/results/compare/summary.csv").set_index(
        ["task", "protocol", "architecture", "metric"]
    )


def test_every_planned_run_finished(summary):
    runs = pd.read_csv(ROOT / "sample/results/compare/runs.csv")
    assert (runs["state"] == "done").all(), runs[runs["state"] != "done"]
    contestants = 3 * len(CLASSIFICATION) + 2 * len(SEGMENTATION)
    assert len(runs) == contestants * 2 * 3


def test_a_frozen_mobilenet_with_imagenet_weights_tells_the_three_classes_of_radiography(summary):
    row = summary.loc[("radiography", "audited", "mobilenetv2_035", "accuracy")]
    assert row["seeds"] == 3
    assert row["mean"] >= 0.85


def test_on_patients_never_seen_covid_ct_is_better_than_chance(summary):
    row = summary.loc[("covid_ct", "audited", "mobilenetv2_035", "auroc")]
    assert row["mean"] >= 0.65
    assert row["low"] > 0.5


def test_covid_ct_is_split_as_its_authors_published():
    split = pd.read_parquet(ROOT / "sample/data/splits/covid_ct/audited/0.parquet")
    assert split.groupby(["label", "fold"]).size().to_dict() == {
        (0, "train"): 118,
        (0, "val"): 28,
        (0, "test"): 54,
        (1, "train"): 102,
        (1, "val"): 43,
        (1, "test"): 56,
    }
    assert split.groupby("patient_id")["fold"].nunique().max() == 1


def test_a_small_unet_beats_the_threshold_on_medseg(summary):
    unet = summary.loc[("medseg_multiclass", "audited", "unet_small", "dice_lesion")]
    threshold = summary.loc[("medseg_multiclass", "audited", "lung_threshold", "dice_lesion")]
    assert unet["mean"] > threshold["mean"]


@pytest.mark.parametrize("task", [*CLASSIFICATION, *SEGMENTATION])
def test_the_audited_split_of_every_task_leaks_nothing(summary, task):
    audit = pd.read_csv(ROOT / "sample/results/audit/splits.csv")
    audited = audit[(audit["task"] == task) & (audit["protocol"] == "audited")]
    assert len(audited) > 0
    assert (audited["leaked"] == 0).all()


def test_the_report_shows_every_task_and_names_what_was_excluded(summary):
    page = (ROOT / "sample/results/report/index.html").read_text()
    for task in (*CLASSIFICATION, *SEGMENTATION):
        assert task in page
    assert "lateral view" in page
