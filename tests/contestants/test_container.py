"""A command in a real container: what it sees, what it may write, and what becomes of it."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from pathlib import Path

import pytest

from covbench.contestants.container import Bound, find_program, name_container, run_contained, wrap_command
from covbench.experiment.contestants import read_contestant
from covbench.schema import CovbenchError

SETTINGS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
"""
"""Podman in a machine whose limits it may not raise and whose cgroups are mixed."""
NAME = "localhost/covbench-test"
DIGEST = "sha256:" + "0" * 64


def call(*words):
    return subprocess.run(["podman", *words], capture_output=True, text=True)


PROGRAMS = ("podman", "runc", "busybox")
real = pytest.mark.skipif(
    os.getuid() != 0 or not all(map(shutil.which, PROGRAMS)),
    reason="runs containers as root: apt-get install podman runc busybox-static",
)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An image with a shell and nothing else, by its digest."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "containers.conf").write_text(SETTINGS)
    os.environ["CONTAINERS_CONF"] = str(folder / "containers.conf")
    with tarfile.open(folder / "root.tar", "w") as archive:
        archive.add(shutil.which("busybox"), "bin/busybox")
        for name in ("sh", "cat", "ls", "sleep", "id"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for name in ("tmp", "proc", "sys", "dev"):
            place = tarfile.TarInfo(name)
            place.type, place.mode = tarfile.DIRTYPE, 0o777
            archive.addfile(place, io.BytesIO())
    imported = call("import", str(folder / "root.tar"), NAME)
    assert imported.returncode == 0, imported.stderr
    found = call("images", "--digests", "--format", "{{.Digest}}", NAME).stdout.split()[0]
    yield f"{NAME}@{found}"
    call("rmi", "--force", NAME)
    del os.environ["CONTAINERS_CONF"]


@pytest.fixture
def bound(tmp_path):
    """A folder to read and two to write, in a folder with a blank that holds something else too."""
    work = tmp_path / "a job"
    for name in ("given", "written", "code"):
        (work / name).mkdir(parents=True)
    (work / "secret").write_text("labels")
    (work / "given" / "test.csv").write_text("id\na\nb\n")
    return Bound(work / "given", (work / "written", work / "code"), work / "code")


def find_processes(words):
    """The command of each process of this machine that holds `words`."""
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    return [command for command in commands if words in command.replace(b"\0", b" ").decode(errors="replace")]


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def run(image, bound, script, note=lambda words: None):
    (bound.place / "run.sh").write_text(textwrap.dedent(script))
    words = ["sh", "run.sh", str(bound.given), str(bound.own[0])]
    run_contained(words, image, bound, {"HOME": "/tmp", "THREADS": "2", "PATH": "/nowhere"}, False, note)


@real
def test_it_reads_what_is_given_writes_its_own_folder_and_tells_its_steps(image, bound):
    steps = []
    run(
        image,
        bound,
        'cat "$1/test.csv" > "$2/seen"\necho progress 1/2 loss 0.5\necho $THREADS > threads\n',
        steps.append,
    )
    assert (bound.own[0] / "seen").read_text() == "id\na\nb\n"
    assert (bound.place / "threads").read_text() == "2\n"
    assert steps == ["1 of 2, loss 0.5"]


@real
def test_it_sees_no_network_no_other_file_and_changes_nothing_that_is_given(image, bound):
    script = 'ls /sys/class/net > "$2/net"\nls "$1/.." > "$2/beside"\necho x > "$1/new" || echo no > "$2/refused"\n'
    run(image, bound, script)
    assert (bound.own[0] / "net").read_text().split() == ["lo"]
    assert (bound.own[0] / "beside").read_text().split() == ["code", "given", "written"]
    assert (bound.own[0] / "refused").exists()
    assert not (bound.given / "new").exists()


@real
def test_its_last_words_are_the_reason_when_it_fails(image, bound):
    with pytest.raises(CovbenchError, match="the command ended with 3: out of luck"):
        run(image, bound, "echo out of luck\nexit 3\n")


SLEEP = 599.25  # found by it among all processes
JOB = f"""
import sys
from pathlib import Path
from covbench.contestants.container import Bound, run_contained
image, work = sys.argv[1], Path(sys.argv[2])
bound = Bound(work / "given", (work / "written", work / "code"), work / "code")
run_contained(["sh", "-c", "echo > started; sleep {SLEEP}"], image, bound, {{}}, False, print)
"""


@real
def test_the_container_of_a_killed_job_ends_when_the_job_is_started_again(image, bound):
    job = subprocess.Popen([sys.executable, "-c", JOB, image, bound.place.parent], start_new_session=True)
    named = f"name={name_container(bound.place)}"
    wait_for(lambda: call("ps", "--quiet", "--filter", named).stdout)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    assert call("ps", "--quiet", "--filter", named).stdout  # it outlives its job
    run(image, bound, "echo again > again\n")
    assert (bound.place / "again").exists()
    assert call("ps", "--all", "--quiet", "--filter", named).stdout == ""


@real
def test_nothing_is_left_of_a_container_whose_job_is_killed_while_it_starts(image, bound):
    job = subprocess.Popen([sys.executable, "-c", JOB, image, bound.place.parent], start_new_session=True)
    wait_for((bound.place / "started").exists)  # podman may not yet have noted that it runs
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    run(image, bound, "echo again > again\n")
    assert (bound.place / "again").exists()
    assert find_processes(f"sleep {SLEEP}") == []


def test_apptainer_and_docker_get_the_same_folders(bound):
    for program, words in (("apptainer", ["--containall", "none", "--nv"]), ("docker", ["--network=none", "all"])):
        call = wrap_command(["run"], f"tool@{DIGEST}", bound, {"A": "1", "PATH": "/bin"}, True, program)
        assert call[0] == program
        assert f"{bound.given}:{bound.given}:ro" in call
        assert all(f"{folder}:{folder}" in call for folder in bound.own)
        assert {*words} <= {*call}
        assert "A=1" in call
        assert not any(word.startswith("PATH=") for word in call)
        assert call[-2:] == [f"docker://tool@{DIGEST}" if program == "apptainer" else f"tool@{DIGEST}", "run"]


def test_a_machine_without_such_a_program_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CovbenchError, match="none of apptainer, podman, docker is installed here"):
        find_program()


@pytest.mark.parametrize(
    "environment", ["{container: tool:1.0}", f"{{container: 'tool@{DIGEST}', requirements: r.txt}}"]
)
def test_an_image_without_a_digest_and_two_environments_are_refused(tmp_path, environment):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "contestant.yaml").write_text(f"title: a\nkind: segmentation\nenvironment: {environment}\n")
    with pytest.raises(CovbenchError, match="environment"):
        read_contestant("mine", tmp_path)
