"""Leases of GPUs between real processes; the names of the GPUs are made up, the locks are not."""

import contextlib
import os
import pwd
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from covbench.schema import CovbenchError
from covbench.system import gpu_leases as leases
from tests.other_users import as_others, become

JOB = """
import logging, os, sys, time
from covbench.system import gpu_leases as leases
logging.basicConfig(level=logging.INFO)
leases.PREFIX = sys.argv[1]
leases.lease_gpus(int(sys.argv[2]))
print(os.environ.get("CUDA_VISIBLE_DEVICES", "unset"), flush=True)
"""
CHILD = 'import subprocess; subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL)\n'


@pytest.fixture
def job(tmp_path):
    """Start a job that asks for GPUs, says which it got and waits; all are killed at the end."""
    started = []

    def start(count=1, environment=None, then="time.sleep(60)", user=None):
        kept = {key: value for key, value in os.environ.items() if key not in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID")}
        process = subprocess.Popen(
            [
                *(become(user, user) if user else ()),
                sys.executable,
                "-c",
                JOB + then,
                _own_prefix(tmp_path),
                str(count),
            ],
            env=kept | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _own_prefix(folder):
    """Leases under this name meet no others."""
    return f"test-{folder.stat().st_ino}"


def _answer(process):
    return process.stdout.readline().strip()


def test_two_jobs_get_two_devices_and_a_third_waits_until_one_is_killed(job):
    pool = {"CUDA_VISIBLE_DEVICES": "3,5"}
    first, second = job(environment=pool), job(environment=pool)
    assert sorted([_answer(first), _answer(second)]) == ["3", "5"]
    third = job(environment=pool)
    assert "waiting for 1 of the GPUs 3, 5" in third.stderr.readline()
    first.kill()
    freed = "3" if first.wait() and "GPU 3 of" in first.stderr.read() else "5"
    assert _answer(third) == freed
    assert second.poll() is None


def test_a_child_that_outlives_a_killed_job_keeps_its_lease(job):
    pool = {"CUDA_VISIBLE_DEVICES": "3"}
    parent = job(environment=pool, then=CHILD + "print('child', flush=True); time.sleep(60)")
    assert [_answer(parent), _answer(parent)] == ["3", "child"]
    parent.kill()
    parent.wait()
    waiting = job(environment=pool)
    assert "waiting" in waiting.stderr.readline()
    os.killpg(parent.pid, signal.SIGKILL)
    assert _answer(waiting) == "3"


def test_a_program_that_takes_the_jobs_place_keeps_its_lease(job):
    pool = {"CUDA_VISIBLE_DEVICES": "3"}
    replaced = job(environment=pool, then='os.execvp("sleep", ["sleep", "60"])')
    assert _answer(replaced) == "3"
    _until(lambda: Path(f"/proc/{replaced.pid}/comm").read_text() == "sleep\n")
    waiting = job(environment=pool)
    assert "waiting" in waiting.stderr.readline()
    replaced.kill()
    assert _answer(waiting) == "3"


def _until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_slurms_choice_is_kept_by_every_job_that_it_gave_as_much_as_it_asked_for(job):
    allocation = {"CUDA_VISIBLE_DEVICES": "1", "SLURM_JOB_ID": "17"}
    assert [_answer(job(environment=allocation)) for _ in range(2)] == ["1", "1"]


def test_two_jobs_inside_one_allocation_share_its_devices_out(job):
    allocation = {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_JOB_ID": "17"}
    assert sorted(_answer(job(environment=allocation)) for _ in range(2)) == ["0", "1"]


def test_another_allocations_device_of_the_same_number_is_another_device(job):
    for allocation in ("17", "18"):
        two = {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_JOB_ID": allocation}
        assert _answer(job(environment=two)) == "0"


def test_an_allocation_without_devices_is_left_as_it_is(job):
    assert _answer(job(environment={"SLURM_JOB_ID": "17"})) == "unset"


def test_a_job_of_two_devices_waits_for_both_and_holds_none_meanwhile(job):
    pool = {"CUDA_VISIBLE_DEVICES": "0,1"}
    small = job(environment=pool)
    assert _answer(small) == "0"
    large = job(2, pool)
    assert "waiting for 2" in large.stderr.readline()
    passing = job(environment=pool, then="")
    assert _answer(passing) == "1"
    small.kill()
    assert _answer(large) == "0,1"


def test_no_gpu_asked_for_hides_them_all(job):
    assert _answer(job(0, {"CUDA_VISIBLE_DEVICES": "0,1"})) == ""


def test_a_machine_without_nvidia_smi_leases_nothing_and_does_not_wait(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    started = time.monotonic()
    assert leases.lease_gpus(1) == []
    assert time.monotonic() - started < 1
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


@pytest.mark.parametrize(("script", "leased"), [("echo 0; echo 1", ["0"]), ("echo NVIDIA-SMI has failed; exit 9", [])])
def test_the_machines_devices_are_those_that_nvidia_smi_lists_without_an_error(script, leased, monkeypatch, tmp_path):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that it is put back afterwards
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr(leases, "PREFIX", _own_prefix(tmp_path))
    assert leases.lease_gpus(1) == leased


def test_more_devices_than_there_are_is_a_mistake_that_names_them(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(CovbenchError, match="gpu=3, but only 2 are available: 0, 1"):
        leases.lease_gpus(3)


def test_a_waiting_job_names_the_process_and_the_user_who_hold_the_device(job):
    pool = {"CUDA_VISIBLE_DEVICES": "3"}
    first = job(environment=pool)
    assert _answer(first) == "3"
    user = pwd.getpwuid(os.getuid()).pw_name
    assert f"process {first.pid} of {user} holds 3" in job(environment=pool).stderr.readline()


@as_others
def test_two_users_of_a_machine_do_not_meet_on_a_device(job):
    pool = {"CUDA_VISIBLE_DEVICES": "3"}
    other = job(environment=pool, user=20_001)
    assert _answer(other) == "3"
    mine = job(environment=pool)
    assert "of user 20001 holds 3" in mine.stderr.readline()
    other.kill()
    assert _answer(mine) == "3"


SNAKEFILE = """
rule all:
    input: "a", "b", "c"

rule work:
    output: "{name}"
    resources: gpu=1
    script: "work.py"
"""
WORK = """
import os, time
from pathlib import Path
from covbench.system import gpu_leases as leases
leases.PREFIX = f"test-{os.stat('.').st_ino}"
leases.lease_gpus(snakemake.resources.gpu)
started = time.time()
time.sleep(2)
Path(snakemake.output[0]).write_text(f"{os.environ['CUDA_VISIBLE_DEVICES']} {started} {time.time()}")
"""


def test_concurrent_jobs_of_snakemake_see_different_devices(tmp_path):
    (tmp_path / "Snakefile").write_text(textwrap.dedent(SNAKEFILE))
    (tmp_path / "work.py").write_text(textwrap.dedent(WORK))
    environment = {key: value for key, value in os.environ.items() if key != "SLURM_JOB_ID"}
    python = tmp_path / "environment" / "bin" / "python"  # Snakemake starts no script where this path has a space
    python.parent.parent.symlink_to(sys.prefix, target_is_directory=True)
    command = [str(python), "-m", "snakemake", "all", "--cores", "3", "--resources", "gpu=2"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment | {"CUDA_VISIBLE_DEVICES": "4,6"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    jobs = [(tmp_path / name).read_text().split() for name in "abc"]
    spans = sorted((float(start), float(end), gpu) for gpu, start, end in jobs)
    assert spans[1][0] < spans[0][1], "the first two jobs ran one after the other"
    assert {spans[0][2], spans[1][2]} == {"4", "6"}
    for one, other in ((0, 1), (0, 2), (1, 2)):
        apart = spans[one][1] <= spans[other][0]
        assert apart or spans[one][2] != spans[other][2]
