"""Trainings on a real SLURM of two nodes, undisturbed and disturbed: results as here, each run whole, none twice."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from covbench.operations.doctor import check_slurm
from tests.workflow.conftest import ROOT, run_snakemake

HERE = Path(__file__).parent
TRAINING = {"size": 64, "batch_size": 32, "head_epochs": 0, "fine_tune_epochs": 18, "patience": 0}
CONFIG = {
    "tasks": ["phantom_xray"],
    "architectures": {"classification": ["small_cnn"], "segmentation": []},
    "protocols": ["audited"],
    "seeds": [0, 1],
    "fetch": {"mirror": None},
    "weights": "none",
    "options": {"audited": {"classification": TRAINING}},
    "deterministic": True,
    "tracking": {"uri": "sqlite:///results/mlflow.db", "live": False},
}
FOLDERS = [f"results/runs/phantom_xray/audited/small_cnn/{seed}" for seed in CONFIG["seeds"]]
MODELS = [f"{folder}/model.keras" for folder in FOLDERS]
SCORES = [f"{folder}/metrics.json" for folder in FOLDERS]
DEMO = ROOT / "demo"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0, reason="starts SLURM's daemons, which needs root"),
    pytest.mark.skipif(not shutil.which("slurmctld"), reason="apt-get install munge slurmctld slurmd slurm-client"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    lab = tmp_path_factory.mktemp("slurm")
    subprocess.run([HERE / "start.sh", lab], check=True, timeout=120)
    yield lab
    subprocess.run([HERE / "stop.sh", lab], check=True, timeout=60)


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The runs as this machine makes them, trained and scored without a cluster."""
    folder = tmp_path_factory.mktemp("on this machine")
    done = run_snakemake(folder, CONFIG, *SCORES)
    assert done.returncode == 0, done.stderr[-5000:]
    return folder


@pytest.fixture
def folder(here, tmp_path):
    """The data of `here` without its runs, in a folder with a space in its path."""
    folder = tmp_path / "on a cluster"
    shutil.copytree(here / "data", folder / "data")
    shutil.copytree(here / ".snakemake" / "metadata", folder / ".snakemake" / "metadata")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


def submit(folder, *targets, **training):
    """Snakemake on SLURM in the background, its output in slurm.log; training: resources that its trainings ask for."""
    command = [sys.executable, "-m", "snakemake", *targets, *arguments(folder)]
    command += ["--workflow-profile", ROOT / "profiles" / "slurm"]
    command += ["--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "5"]
    if training:
        command += ["--set-resources", *(f"train_classifier:{name}={value}" for name, value in training.items())]
    with (folder / "slurm.log").open("a") as log:
        return subprocess.Popen(list(map(str, command)), stdout=log, stderr=log, cwd=folder, start_new_session=True)


def finish(process, folder, seconds=600):
    code = process.wait(timeout=seconds)
    assert code == 0, (folder / "slurm.log").read_text()[-5000:]


def training_jobs():
    """SLURM's number of each training that runs now, and its node."""
    listed = subprocess.run(["squeue", "-h", "-t", "running", "-o", "%i %N %k"], capture_output=True, text=True).stdout
    return [line.split()[:2] for line in listed.splitlines() if "train_classifier" in line]


def wait_for(condition, seconds=180):
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until
        time.sleep(0.3)
    return found


def training_logs(folder, runs=FOLDERS):
    """What each run's training has logged so far."""
    logs = [folder / "logs/train" / f"{Path(run).relative_to('results/runs')}.log" for run in runs]
    return [log.read_text() if log.exists() else "" for log in logs]


def in_training(folder, runs=FOLDERS, epochs=2):
    """Whether runs have trained some epochs."""
    return all(log.count("INFO epoch") >= epochs for log in training_logs(folder, runs))


def training_processes(folder):
    """The process that holds the lock of each run, by seed."""
    locks = sorted(folder.glob("checkpoints/phantom_xray/audited/small_cnn/*/lock"))
    return [int(lock.read_text().split()[1]) for lock in locks]


def assert_same_runs(folder, here, runs=FOLDERS):
    """What was learnt is the same to the last bit, whatever happened on the way."""
    for run in runs:
        for name in ("history.csv", "predictions.parquet"):
            assert read_without_time(folder / run / name) == read_without_time(here / run / name), f"{run}/{name}"


def read_without_time(path):
    table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    return table.drop(columns="seconds", errors="ignore").to_csv()


def test_the_doctor_reads_the_partitions_and_the_gpus_of_a_real_cluster(cluster, tmp_path):
    (tmp_path / "cluster.yaml").write_text("cpu: {partition: cpu}\ngpu: {partition: gpu, model: pretended}\n")
    (good,) = check_slurm(tmp_path / "cluster.yaml")
    assert (good.level, good.message) == ("ok", "jobs go to cpu, those with a GPU to gpu")
    (tmp_path / "cluster.yaml").write_text("account: lung\ngpu: {partition: gpu, model: a100}\n")
    model, account = check_slurm(tmp_path / "cluster.yaml")
    assert (model.level, account.level) == ("problem", "warning")  # it keeps no accounts
    assert model.message.endswith("gpu.model: gpu has no 'a100'; known: pretended")


def test_trainings_on_slurm_score_as_on_this_machine_and_concurrent_ones_hold_gpus_of_their_own(cluster, here, folder):
    shutil.rmtree(folder / "data" / "prepared")
    finish(submit(folder, *SCORES), folder)
    assert_same_runs(folder, here)
    for scores in SCORES:
        assert json.loads((folder / scores).read_text()) == json.loads((here / scores).read_text())
    logs = [(folder / f"logs/train/phantom_xray/audited/small_cnn/{seed}.log").read_text() for seed in CONFIG["seeds"]]
    held = [re.search(r"SLURM job \d+ on (\w+) holds GPU (\d)", log).groups() for log in logs]
    assert len(set(held)) == 2


def test_a_job_that_somebody_cancels_is_sent_again_and_goes_on(cluster, here, folder):
    process = submit(folder, *MODELS)
    wait_for(lambda: in_training(folder))
    cancelled, _ = training_jobs()[0]
    subprocess.run(["scancel", cancelled], check=True)
    finish(process, folder)
    assert_same_runs(folder, here)
    assert sorted(restarts(folder)) == [0, 1]


def test_a_training_that_is_pushed_out_by_somebody_with_priority_goes_on_afterwards(cluster, here, folder):
    process = submit(folder, *MODELS, slurm_partition="scavenge")
    wait_for(lambda: in_training(folder))
    _, node = training_jobs()[0]
    rival = ["sbatch", "-p", "gpu", "-w", node, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 20"]
    subprocess.run(rival, check=True, cwd=folder)
    finish(process, folder)
    assert "preempted JobId=" in (cluster / "log/slurmctld.log").read_text()
    assert_same_runs(folder, here)
    assert max(restarts(folder)) == 1


def test_a_training_that_hangs_is_ended_by_its_time_limit_and_goes_on(cluster, here, folder):
    process = submit(folder, *MODELS[:1], runtime=1)
    wait_for(lambda: in_training(folder, FOLDERS[:1]))
    os.kill(training_processes(folder)[0], signal.SIGSTOP)
    finish(process, folder)
    assert "TIMEOUT" in (folder / "slurm.log").read_text()
    assert_same_runs(folder, here, FOLDERS[:1])
    assert restarts(folder, FOLDERS[:1]) == [1]


def test_a_training_that_is_out_of_memory_is_sent_again_with_more(cluster, here, folder):
    finish(submit(folder, *MODELS[:1], mem_mb=600), folder)
    assert any("exceeded memory limit" in path.read_text() for path in (cluster / "log").glob("slurmd.*.log"))
    asked = set(map(int, re.findall(r"\bmem_mb=(\d+)", (folder / "slurm.log").read_text())))
    assert {600, 1200} <= asked <= {600, 1200, 1800}  # a training needs about 1,200
    assert_same_runs(folder, here, FOLDERS[:1])


def test_a_node_that_is_lost_under_its_training_loses_no_run(cluster, here, folder):
    process = submit(folder, *MODELS)
    wait_for(lambda: in_training(folder))
    _, node = training_jobs()[0]
    subprocess.run([HERE / "stop.sh", cluster, node], check=True)
    try:
        finish(process, folder)
    finally:
        subprocess.run([HERE / "start.sh", cluster], check=True, timeout=120)
    assert f"due to failure of node {node}" in (cluster / "log/slurmctld.log").read_text()
    assert_same_runs(folder, here)


def test_snakemake_killed_and_started_again_ends_with_every_run_trained_by_one_writer(cluster, here, folder):
    process = submit(folder, *MODELS)
    wait_for(lambda: in_training(folder))
    first = training_processes(folder)
    for training in first:
        os.kill(training, signal.SIGSTOP)  # however fast it trains, its successor finds it at work
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([sys.executable, "-m", "snakemake", "--unlock", *arguments(folder)], check=True, cwd=folder)
    process = submit(folder, *MODELS)
    wait_for(lambda: all("INFO waits: " in log for log in training_logs(folder)))
    assert len(training_jobs()) == 2 * len(FOLDERS)  # SLURM's jobs live on
    for training in first:
        os.kill(training, signal.SIGCONT)
    finish(process, folder)
    assert_same_runs(folder, here)
    assert restarts(folder) == [0, 0]
    assert all("finished before with the same inputs" in log for log in training_logs(folder))


@pytest.mark.skipif(not (DEMO / "results/compare/metrics.csv").exists(), reason="compares with demo/: make demo")
def test_the_demo_through_slurm_gives_the_metrics_of_make_demo(cluster, tmp_path):
    """From the networks on X-rays to the report; data and all other runs come from `make demo`."""
    shutil.copy(ROOT / "config" / "demo.yaml", tmp_path / "config.yaml")
    for name in ("data", "results/runs", ".snakemake/metadata"):
        shutil.copytree(DEMO / name, tmp_path / name, symlinks=True)
    for name in ("small_cnn", "small_resnet"):
        shutil.rmtree(tmp_path / "results/runs/phantom_xray/audited" / name)
    process = submit(
        tmp_path, "all", "--set-threads", *(f"{rule}=1" for rule in ("train_classifier", "train_segmenter"))
    )
    finish(process, tmp_path, seconds=1500)
    assert {path.parent.name for path in (tmp_path / "logs/train").rglob("0.log")} == {"small_cnn", "small_resnet"}
    assert not (tmp_path / "logs/train/phantom_lesions").exists()
    for name in ("metrics.csv", "summary.csv"):
        assert (tmp_path / "results/compare" / name).read_text() == (DEMO / "results/compare" / name).read_text()
    assert (tmp_path / "results/report/index.html").exists()


def arguments(folder):
    names = {"--snakefile": ROOT / "Snakefile", "--configfile": folder / "config.yaml", "--directory": folder}
    return [str(word) for pair in names.items() for word in pair]


def restarts(folder, runs=FOLDERS):
    """How many processes have worked on each run."""
    return [json.loads((folder / run / "manifest.json").read_text())["restarts"] for run in runs]
