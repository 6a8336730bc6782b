"""Two users, one folder; data that one may only read; a home that cannot be written: as far as one machine allows."""

import os
import subprocess
import sys

import yaml

from tests.other_users import as_others, become

from .conftest import BASELINES_ONLY, ROOT, run_snakemake

CONFIG = BASELINES_ONLY | {
    "tasks": ["phantom_xray"],
    "protocols": ["audited"],
    "options": {"audited": {"classification": {"size": 64}}},
}
MORE_SEEDS = CONFIG | {"seeds": [0, 1]}
RUNS = "results/compare/runs.csv"
GROUP = 20_000
USERS = (20_001, 20_002)


def run_as(user, folder, config, home, **environment):
    """Snakemake as another user, who is in GROUP, shares with it what he writes, and may write nothing else."""
    file = folder.with_name(f"{user}.yaml")
    file.write_text(yaml.safe_dump(config))
    command = [*become(user, GROUP), sys.executable, "-m", "snakemake", RUNS, "--cores", "2"]
    command += ["--snakefile", ROOT / "Snakefile", "--configfile", file, "--directory", folder]
    own = {"HOME": str(home), "USER": f"user{user}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env=os.environ | own | environment,
        umask=0o002,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def make_shared(folder):
    """A folder in which all of GROUP may write, whoever wrote what is there."""
    folder.mkdir()
    os.chown(folder, 0, GROUP)
    folder.chmod(0o2775)
    return folder


@as_others
def test_what_one_user_has_run_another_of_the_group_continues_in_the_same_folder(tmp_path):
    folder = make_shared(tmp_path / "shared")
    for user, config in zip(USERS, (CONFIG, MORE_SEEDS), strict=True):
        run_as(user, folder, config, make_shared(tmp_path / f"home of {user}"))

    def owners(pattern):
        return [(folder / pattern.format(seed)).stat().st_uid for seed in (0, 1)]

    assert owners("data/splits/phantom_xray/audited/{}.parquet") == list(USERS)
    second = [USERS[1]] * 2  # one job fits a baseline with all seeds
    assert owners("results/runs/phantom_xray/audited/majority/{}/manifest.json") == second


@as_others
def test_data_of_somebody_else_are_read_where_they_lie(finished, tmp_path):
    folder = make_shared(tmp_path / "run")
    (folder / "data").symlink_to(finished / "data")
    done = run_as(USERS[1], folder, CONFIG, make_shared(tmp_path / "home"))
    assert "rule fit_classification_baseline:" in done
    assert "rule prepare:" not in done


@as_others
def test_a_home_that_cannot_be_written_needs_a_cache_elsewhere(finished, tmp_path):
    folder, home = make_shared(tmp_path / "run"), tmp_path / "home"
    (folder / "data").symlink_to(finished / "data")
    home.mkdir()
    run_as(USERS[1], folder, CONFIG, home, XDG_CACHE_HOME=str(make_shared(tmp_path / "cache")))
    assert not list(home.iterdir())


def test_a_second_snakemake_in_the_same_folder_is_refused_while_the_first_runs(finished, tmp_path):
    (tmp_path / "data").symlink_to(finished / "data")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    command = [sys.executable, "-m", "snakemake", RUNS, "--snakefile", ROOT / "Snakefile", "--cores", "1"]
    command += ["--configfile", tmp_path / "config.yaml", "--directory", tmp_path]
    first = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    while "Select jobs to execute" not in first.stderr.readline():
        assert first.poll() is None
    second = run_snakemake(tmp_path, CONFIG, RUNS)
    assert second.returncode == 1
    assert "cannot be locked" in second.stdout + second.stderr
    _, rest = first.communicate(timeout=300)
    assert first.returncode == 0, rest[-3000:]
