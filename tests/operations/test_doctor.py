"""What `covbench doctor` finds: real folders, a real HTTP server, another user; SLURM as its commands answered."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from covbench.cli import main
from covbench.experiment.config import check_config
from covbench.experiment.plan import plan_runs
from covbench.operations.doctor import (
    check_datasets,
    check_disk,
    check_gpus,
    check_mlflow,
    check_packages,
    check_slurm,
    check_weights,
    examine,
    show_findings,
)
from covbench.operations.step_timings import StepTimings, describe_setting
from covbench.system.files import PROJECT
from tests.local_server import LocalServer, Served
from tests.other_users import as_others, become

CONFIG = {
    "tasks": ["covid_ct", "radiography", "medseg_multiclass", "phantom_xray"],
    "architectures": {"classification": ["vgg16", "small_cnn"], "segmentation": ["unet_small"]},
    "protocols": ["audited"],
}
DEMO = {
    "tasks": ["phantom_xray"],
    "architectures": {"classification": ["small_cnn"], "segmentation": []},
    "protocols": ["audited"],
    "seeds": [0, 1],
    "weights": "none",
}
VARIABLES = ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "XDG_CONFIG_HOME")
SEARCH = "/api/2.0/mlflow/experiments/search"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home without credentials, and no variables that name any."""
    for name in (*VARIABLES, "CUDA_VISIBLE_DEVICES", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def config_of(values, **changes):
    return check_config(values | changes)


def levels(findings):
    return {finding.subject: finding.level for finding in findings}


def messages(findings):
    return "\n".join(finding.message for finding in findings)


def install(folder, monkeypatch, **commands):
    """Commands of these names, found before all others: shell scripts of these lines."""
    for name, script in commands.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_without_a_mirror_kaggle_data_need_credentials_and_the_others_none(tmp_path):
    found = list(check_datasets(config_of(CONFIG), tmp_path))
    assert levels(found) == {
        "data covid_ct": "ok",
        "data radiography": "problem",
        "data medseg": "problem",
        "data phantom_xray": "ok",
    }
    assert "~/.kaggle/kaggle.json" in found[1].message


@pytest.mark.parametrize("place", ["kaggle.json", "access_token", "variables"])
def test_credentials_are_found_where_the_kaggle_package_reads_them_and_never_shown(place, tmp_path, home, monkeypatch):
    (home / ".kaggle").mkdir()
    if place == "variables":
        monkeypatch.setenv("KAGGLE_USERNAME", "me")
        monkeypatch.setenv("KAGGLE_KEY", "s3cret")
    else:
        text = json.dumps({"username": "me", "key": "s3cret"}) if place == "kaggle.json" else "s3cret"
        (home / ".kaggle" / place).write_text(text)
    found = list(check_datasets(config_of(CONFIG), tmp_path))
    assert levels(found)["data radiography"] == "ok"
    assert levels(found)["data medseg"] == "warning"  # a competition's rules
    assert "https://www.kaggle.com/competitions/covid-segmentation/rules" in messages(found)
    assert "s3cret" not in messages(found)


@pytest.mark.parametrize("text", ['{"username": "me"}', "{}"])
def test_half_a_key_is_no_credential(text, tmp_path, home):
    (home / ".kaggle").mkdir()
    (home / ".kaggle" / "kaggle.json").write_text(text)
    assert levels(check_datasets(config_of(CONFIG), tmp_path))["data radiography"] == "problem"


def test_a_damaged_key_file_is_named(tmp_path, home):
    (home / ".kaggle").mkdir()
    (home / ".kaggle" / "kaggle.json").write_text("{")
    (found,) = [f for f in check_datasets(config_of(CONFIG), tmp_path) if f.subject == "data radiography"]
    assert (found.level, found.message.split(":")[0]) == ("problem", str(home / ".kaggle" / "kaggle.json"))


def test_a_mirror_is_searched_from_the_working_directory_for_the_names_of_the_card(tmp_path):
    (tmp_path / "mirror" / "covid19-radiography-database").mkdir(parents=True)
    found = list(check_datasets(config_of(CONFIG, fetch={"mirror": "mirror"}), tmp_path))
    assert levels(found) == {
        "data covid_ct": "problem",
        "data radiography": "ok",
        "data medseg": "problem",
        "data phantom_xray": "ok",
    }
    assert f"{tmp_path}/mirror holds no folder named COVID-CT" in found[0].message


def test_a_dataset_that_is_fetched_needs_nothing(tmp_path):
    (tmp_path / "data/raw/radiography").mkdir(parents=True)
    (tmp_path / "data/raw/radiography.manifest.json").touch()
    assert levels(check_datasets(config_of(CONFIG), tmp_path))["data radiography"] == "ok"


def test_weight_files_are_here_in_the_mirror_or_at_a_host(tmp_path):
    config = config_of(CONFIG)
    (only,) = check_weights(config, plan_runs(config), tmp_path)  # vgg16 alone has weights
    assert only.message == "1 of 1 files will be downloaded from storage.googleapis.com: keras_vgg16.h5"
    mirrored = config_of(CONFIG, weights={"mirror": "mirror"})
    (absent,) = check_weights(mirrored, plan_runs(mirrored), tmp_path)
    assert (absent.level, absent.subject) == ("problem", "weights keras_vgg16.h5")
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "keras_vgg16.h5").touch()
    (there,) = check_weights(mirrored, plan_runs(mirrored), tmp_path)
    assert f"in the mirror {tmp_path}/mirror" in there.message
    (tmp_path / "data/weights").mkdir(parents=True)
    (tmp_path / "data/weights/keras_vgg16.h5").touch()
    (here,) = check_weights(config, plan_runs(config), tmp_path)
    assert "here already" in here.message
    (none,) = check_weights(config_of(DEMO), plan_runs(config_of(DEMO)), tmp_path)
    assert (none.level, none.message) == ("ok", "none needed")


def test_weights_that_are_not_the_published_ones_are_named_with_where_they_come_from(tmp_path):
    substitutes = {"mirror": "mirror", "substitutes": ["mobilenetv2_dequantised"]}
    networks = {"classification": ["mobilenetv2"], "segmentation": ["unet_mobilenetv2"]}
    config = config_of(CONFIG, architectures=networks, weights=substitutes)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "keras_mobilenetv2.h5").touch()
    found = list(check_weights(config, plan_runs(config), tmp_path))
    assert [(finding.level, finding.subject) for finding in found] == [
        ("ok", "weights"),
        ("warning", "weights mobilenetv2_dequantised.h5"),
    ]
    assert "not the published file: ImageNet weights of MobileNetV2 1.0, dequantised" in found[1].message


def forecast(folder, parameters):
    """A timing of the demo's network, as a forecast would have left it."""
    plan = plan_runs(config_of(DEMO))
    known = StepTimings(folder)
    known.folder.mkdir(parents=True)
    times = dict.fromkeys(("setup", "head", "fine_tune", "forward", "memory_mb", "gpu_mb"), 1.0)
    network = next(planned for planned in plan if planned.is_deep)
    kept = {"setting": describe_setting(network), "timing": times | {"parameters": parameters}}
    (known.folder / "one.json").write_text(json.dumps(kept))
    return plan


def test_the_forecast_has_to_fit_on_the_disk(tmp_path):
    (unknown,) = check_disk(plan_runs(config_of(DEMO)), tmp_path, 1)
    assert unknown.level == "warning"
    assert "2 of 2 trainings have no forecast yet; run covbench forecast" in unknown.message
    # Two models of 4 B a parameter, and 4 copies in each of 2 checkpoints of one training: 10 x 4 MB.
    (small,) = check_disk(forecast(tmp_path / "small", 1_000_000), tmp_path / "small", 1)
    assert small.level == "ok"
    assert small.message.endswith("the trainings still to do need 40.0 MB")
    (large,) = check_disk(forecast(tmp_path / "large", 10**14), tmp_path / "large", 2)  # 2 + 2 x 8 copies: 7.2 PB
    assert large.level == "problem"
    assert "need 7200.0 TB" in large.message


def as_nobody(folder, code):
    """What Python prints as a user without rights."""
    command = [*become(65534, 65534), sys.executable, "-c", code, folder]
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def readable():
    """A folder that every user can read, but only its owner can write."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@as_others
def test_folders_that_cannot_be_written_are_problems(readable):
    said = as_nobody(
        readable,
        "import sys; from pathlib import Path; from covbench.operations.doctor import *; root = Path(sys.argv[1]);"
        "print(show_findings([*check_disk([], root, 1), *check_mlflow('sqlite:///results/mlflow.db', root)]))",
    )
    assert f"problem  disk    {readable} cannot be written" in said
    assert f"problem  mlflow  {readable} cannot be written" in said


def test_a_store_below_a_folder_that_is_not_there_yet_can_be_written(tmp_path):
    (found,) = check_mlflow("sqlite:///results/mlflow.db", tmp_path)
    assert (found.level, found.message) == ("ok", f"{tmp_path}/results/mlflow.db: can be written")


def test_a_server_has_to_answer_as_mlflow_does(tmp_path):
    with LocalServer() as server:
        server.files[SEARCH] = Served(b'{"experiments": []}', headers=JSON)
        (good,) = check_mlflow(server.url, tmp_path)
        server.files[SEARCH] = Served(b"{}", headers=JSON, statuses=[401])
        (refused,) = check_mlflow(server.url, tmp_path)
        server.files[SEARCH] = Served(b"<html>", headers={"Content-Type": "text/html"})
        (other,) = check_mlflow(server.url, tmp_path)
        url = server.url
    (gone,) = check_mlflow(url, tmp_path)
    assert [found.level for found in (good, refused, other, gone)] == ["ok", "problem", "problem", "problem"]
    assert "MLFLOW_TRACKING_USERNAME" in refused.message
    assert "not as MLflow" in other.message
    assert f"{url} does not answer (ConnectionError)" in gone.message


@pytest.mark.parametrize(("wanted", "level"), [(2, "ok"), (3, "warning")])
def test_gpus_are_counted_against_those_that_the_command_line_promises(wanted, level, tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, **{"nvidia-smi": "echo 0; echo 1"})
    assert next(check_gpus(wanted)).level == level
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (none,) = check_gpus(wanted)
    assert "networks train on the CPU" in none.message


SINFO = """\
cat <<END
short*|up|(null)|(null)
short*|up|(null)|avx512
big|up|gpu:a100:4(S:0-1)|nvlink,a100
old|down|gpu:2|(null)
END"""


def check_cluster(text, folder, monkeypatch, sinfo=SINFO, sacctmgr="echo lung; echo heart; echo lung"):
    install(folder, monkeypatch, sbatch="exit 1", sinfo=sinfo, sacctmgr=sacctmgr)
    (folder / "cluster.yaml").write_text(text)
    return list(check_slurm(folder / "cluster.yaml"))


def test_a_cluster_file_that_fits_the_cluster_is_fine(tmp_path, monkeypatch):
    text = "account: lung\ncpu: {constraint: avx512}\ngpu: {partition: big, model: a100, constraint: nvlink}"
    found = check_cluster(text, tmp_path, monkeypatch)
    assert [finding.level for finding in found] == ["ok", "ok"]
    assert found[0].message == "jobs go to the default partition, those with a GPU to big"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpu: {partition: bgi}", "gpu.partition: 'bgi' is no partition of this cluster; did you mean 'big'?"),
        ("cpu: {partition: short}", "gpu.partition: short has no GPU; partitions with GPUs: big, old"),
        ("gpu: {partition: big, model: h100}", "gpu.model: big has no 'h100'; known: a100"),
        ("gpu: {partition: old}", "gpu.partition: old is down"),
        ("gpu: {partition: big, constraint: ib}", "gpu.constraint: no node of big has 'ib'; known: a100, nvlink"),
        ("account: lungs\ngpu: {partition: big}", "account: 'lungs' is not yours; yours: heart, lung"),
    ],
)
def test_what_a_cluster_does_not_have_is_named_with_its_key_and_the_choices(text, said, tmp_path, monkeypatch):
    found = check_cluster(text, tmp_path, monkeypatch)
    (problem,) = [finding.message for finding in found if finding.level == "problem"]
    assert f"{tmp_path}/cluster.yaml: {said}" in problem


def test_a_cluster_without_accounting_is_a_warning_and_one_that_is_down_a_problem(tmp_path, monkeypatch):
    text = "account: lung\ngpu: {partition: big}"
    silent = "echo 'no accounting_storage plugin' >&2; exit 1"
    found = check_cluster(text, tmp_path, monkeypatch, sacctmgr=silent)
    assert [finding.level for finding in found] == ["ok", "warning"]
    assert "sacctmgr failed: no accounting_storage plugin" in found[1].message
    default = check_cluster("gpu: {partition: big}", tmp_path, monkeypatch, sacctmgr=silent)
    assert [finding.level for finding in default] == ["ok"]
    install(tmp_path, monkeypatch, sinfo="echo 'Unable to contact slurm controller' >&2; exit 1")
    config = config_of(DEMO)
    everything = examine(config, plan_runs(config), tmp_path, 1, PROJECT / "profiles" / "slurm")
    (down,) = [finding for finding in everything if finding.subject == "gpu"]
    assert (down.level, down.message) == ("problem", "sinfo failed: Unable to contact slurm controller")


def test_packages_are_compared_with_the_lock():
    import numpy

    (good,) = check_packages({"numpy": numpy.__version__})
    assert (good.level, good.message) == ("ok", "1 as locked")
    (other,) = check_packages({"numpy": "0.1"})
    assert other.level == "warning"
    assert other.message.startswith(f"numpy: installed {numpy.__version__}, locked 0.1; pip install")


def test_a_line_for_each_finding_and_a_code_that_says_whether_to_start(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))  # neither nvidia-smi nor SLURM
    (tmp_path / "config.yaml").write_text(json.dumps(DEMO))
    arguments = ["doctor", "--configfile", str(tmp_path / "config.yaml"), "--directory", str(tmp_path)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ok       data phantom_xray  synthetic: made here, nothing is downloaded")
    assert lines[-1].startswith("problems: 0, warnings: ")
    assert {line.split()[0] for line in lines[:-2]} <= {"ok", "warning"}
    assert main([*arguments, "--workflow-profile", str(PROJECT / "profiles" / "slurm")]) == 1
    assert "sbatch is not on this machine" in capsys.readouterr().out
    assert show_findings([]) == "\nproblems: 0, warnings: 0"


def test_another_locale_is_a_warning(tmp_path):
    (tmp_path / "config.yaml").write_text(json.dumps(DEMO))
    command = [sys.executable, "-m", "covbench.cli", "doctor", "--configfile", tmp_path / "config.yaml"]
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [*command, "--directory", tmp_path], capture_output=True, text=True, env=os.environ | plain, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in done.stdout.splitlines() if " locale " in line]
    assert line.startswith("warning")
    assert "iso8859-1" in line
    assert "export LC_ALL=C.UTF-8" in line
