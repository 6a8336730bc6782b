"""The workflow as a user runs it: dry runs, bad configs, a small grid from data to report."""

import json
import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
import yaml
from playwright.sync_api import expect, sync_playwright

from tests.chromium import CHROMIUM, NO_BROWSER

from .conftest import BASELINES_ONLY, ROOT, planned_jobs, run_snakemake, take_data

FULL = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def trainings(jobs):
    return jobs["train_classifier"], jobs["train_segmenter"]


def test_the_full_benchmark_plans_48_classifiers_and_75_segmenters_a_protocol_and_seed_without_tensorflow(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('a dry run must not import TensorFlow')")
    (tmp_path / "keras.py").write_text("raise ImportError('a dry run must not import Keras')")
    blocked = {"PYTHONPATH": str(tmp_path)}
    done = run_snakemake(
        tmp_path / "one", FULL | {"protocols": ["audited"], "seeds": [0]}, "-n", "--quiet", "rules", environment=blocked
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert trainings(planned_jobs(done.stdout + done.stderr)) == (4 * 12, 3 * 24 + 3)
    done = run_snakemake(tmp_path / "all", FULL, "-n", "--quiet", "rules", environment=blocked)
    jobs = planned_jobs(done.stdout + done.stderr)
    assert trainings(jobs) == (4 * 12 * 9, (3 * 24 + 3) * 9)
    assert jobs["predict_external"] == 4 * 12 * 3  # a job per model, for all seeds
    assert jobs["predict_controls"] == 4 * 12 * 3
    assert jobs["predict_external_masks"] == (3 * 24 + 3) * 3
    assert jobs["predict_external_baseline"] == 4 * 3 * 3
    assert jobs["predict_external_baseline_masks"] == 3 * 2 * 3
    assert jobs["evaluate_external"] == 4 * (12 + 3) * 3
    assert jobs["evaluate_external_masks"] == (3 * (24 + 2) + 3) * 3


def test_an_unknown_config_key_is_refused_before_the_first_job_with_the_nearest_one(tmp_path):
    wrong = BASELINES_ONLY | {"options": {"audited": {"classification": {"fine_tune_epohcs": 3}}}}
    done = run_snakemake(tmp_path, wrong, "-n")
    assert done.returncode != 0
    assert "fine_tune_epohcs" in done.stdout + done.stderr
    assert "fine_tune_epochs" in done.stdout + done.stderr
    assert not (tmp_path / "data").exists()


def test_an_unknown_architecture_is_refused_with_the_nearest_one(tmp_path):
    wrong = BASELINES_ONLY | {"architectures": {"classification": ["resnet50v3"], "segmentation": []}}
    done = run_snakemake(tmp_path, wrong, "-n")
    assert done.returncode != 0
    assert "resnet50v2" in done.stdout + done.stderr


def test_a_small_grid_runs_from_drawn_data_to_a_report_in_a_folder_with_a_space(finished):
    assert " " in str(finished) or " " in finished.name
    assert (finished / "results/report/index.html").stat().st_size > 10_000
    runs = pd.read_csv(finished / "results/compare/runs.csv")
    assert (runs["state"] == "scored").all()
    assert len(runs) == 2 * 2 + 1 * 2


def test_every_figure_for_print_is_there_as_svg_and_as_pdf(finished):
    figures = sorted((finished / "results/figures").rglob("*.svg"))
    assert {path.parent.name for path in figures} == {"all_tasks", "phantom_xray", "phantom_lesions"}
    for path in figures:
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        assert ElementTree.parse(path).getroot().tag.endswith("svg")


@pytest.mark.skipif(not CHROMIUM, reason=NO_BROWSER)
def test_snakemakes_own_report_shows_the_figures_by_task_with_captions_and_labels(finished):
    done = run_snakemake(finished, BASELINES_ONLY, "--report", "results/snakemake-report.html")
    assert done.returncode == 0, done.stderr[-3000:]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        page.goto((finished / "results/snakemake-report.html").as_uri())
        page.get_by_text("phantom_xray", exact=True).first.click()
        expect(page.get_by_text("confusion_phantom_xray_audited")).to_be_visible()
        browser.close()
    assert "lines are 95 % intervals over patients" in (finished / "results/snakemake-report.html").read_text()


def test_every_number_says_where_it_came_from(finished):
    manifest = json.loads(
        (finished / "results/runs/phantom_xray/audited/intensity_logistic/0/manifest.json").read_text()
    )
    assert manifest["run"]["task"] == "phantom_xray"
    assert len(manifest["fingerprint"]) == 64
    assert manifest["packages"]["numpy"]


def test_running_again_does_nothing(finished):
    done = run_snakemake(finished, BASELINES_ONLY, "all", "-n")
    assert "Nothing to be done" in done.stdout + done.stderr, (done.stdout + done.stderr)[-3000:]


def test_changing_a_segmentation_option_leaves_classifiers_alone(finished):
    changed = json.loads(json.dumps(BASELINES_ONLY))
    changed["options"]["audited"]["segmentation"]["size"] = 96
    done = run_snakemake(finished, changed, "all", "-n", "--quiet", "rules")
    jobs = planned_jobs(done.stdout + done.stderr)
    assert "fit_classification_baseline" not in jobs
    assert jobs["fit_segmentation_baseline"] == 1
    run_snakemake(finished, BASELINES_ONLY, "all", "-n", "--quiet", "rules")


def test_a_partial_report_scores_what_is_predicted_though_another_seed_of_the_model_is_not(finished, tmp_path):
    partial = tmp_path / "half a model"
    shutil.copytree(finished, partial)
    folder = partial / "results/runs/phantom_lesions/audited/empty_mask/0"
    scores = (folder / "metrics.json").read_text()
    for name in ("metrics.json", "cases.parquet"):
        (folder / name).unlink()
    done = run_snakemake(partial, BASELINES_ONLY | {"seeds": [0, 1]}, "partial_report")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (folder / "metrics.json").read_text() == scores
    runs = pd.read_csv(partial / "results/partial/compare/runs.csv").set_index(["task", "protocol", "architecture"])
    states = runs.loc[("phantom_lesions", "audited", "empty_mask")].set_index("seed")["state"]
    assert states.to_dict() == {0: "scored", 1: "missing"}


def test_a_partial_report_shows_a_missing_run_as_missing(finished, tmp_path):
    partial = tmp_path / "partly done"
    shutil.copytree(finished, partial)
    shutil.rmtree(partial / "results/runs/phantom_xray/audited/majority")
    shutil.rmtree(partial / "results/report")
    done = run_snakemake(partial, BASELINES_ONLY, "partial_report")
    assert done.returncode == 0, done.stderr[-3000:]
    runs = pd.read_csv(partial / "results/partial/compare/runs.csv")
    missing = runs[runs["state"] == "missing"]
    assert missing[["task", "protocol", "architecture"]].to_numpy().tolist() == [
        ["phantom_xray", "audited", "majority"]
    ]
    page = (partial / "results/partial/report/index.html").read_text()
    assert "missing" in page


@pytest.mark.slow
def test_a_training_that_fails_stands_with_its_reason_on_the_partial_report(finished, tmp_path):
    wild = {"size": 64, "head_epochs": 0, "fine_tune_epochs": 2, "fine_tune_rate": 1e30}
    config = BASELINES_ONLY | {
        "tasks": ["phantom_xray"],
        "architectures": {"classification": ["small_cnn"], "segmentation": []},
        "protocols": ["audited"],
        "options": {"audited": {"classification": wild}},
    }
    folder = tmp_path / "a failure"
    take_data(finished, folder)
    failed = run_snakemake(folder, config, "all", "--keep-going")
    assert failed.returncode != 0
    assert "snakemake partial_report" in failed.stdout + failed.stderr
    done = run_snakemake(folder, config, "partial_report")
    assert done.returncode == 0, done.stderr[-3000:]
    runs = pd.read_csv(folder / "results/partial/compare/runs.csv").set_index("architecture")
    assert runs.loc["small_cnn", "state"] == "failed"
    assert "Lower fine_tune_rate" in runs.loc["small_cnn", "reason"]
    assert set(runs["state"]) == {"failed", "scored"}
    page = (folder / "results/partial/report/index.html").read_text()
    assert "Lower fine_tune_rate" in page
    (log,) = re.findall(r'href="([^"]*small_cnn/0.log)"', page)
    assert "Lower fine_tune_rate" in (folder / "results/partial/report" / log).read_text()


def test_a_dataset_whose_file_changed_after_fetching_is_refused(finished, tmp_path):
    changed = tmp_path / "changed data"
    shutil.copytree(finished, changed)
    picture = next((changed / "data/raw/phantom_xray").rglob("*.png"))
    picture.write_bytes(picture.read_bytes()[:-40])
    (changed / "data/index/phantom_xray.parquet").unlink()
    done = run_snakemake(changed, BASELINES_ONLY, "data/index/phantom_xray.parquet")
    assert done.returncode != 0
    assert picture.name in done.stdout + done.stderr


def test_an_environment_below_a_folder_with_a_space_runs_scripts(tmp_path):
    python = tmp_path / "an environment" / "bin" / "python"
    python.parent.parent.symlink_to(Path(sys.prefix), target_is_directory=True)
    done = run_snakemake(tmp_path / "run", BASELINES_ONLY, "data/index/phantom_xray.parquet", python=python)
    assert done.returncode == 0, done.stderr[-3000:]
