"""`covbench run` over real Snakemake: what it shows of stages, what it says of a failure, what it passes on."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from covbench.operations.progress import STAGE_OF, Failure, Workflow, find_directory

ROOT = Path(__file__).resolve().parents[2]
SNAKEFILE = """
rule all:
    input: "index.txt", "other.txt"

rule fetch:
    output: "{dataset}.raw"
    log: "logs/fetch/{dataset}.log"
    shell: "echo 'fetching {wildcards.dataset}' > {log}; touch {output}"

rule index:
    input: "a.raw", "b.raw"
    output: "index.txt"
    log: "logs/index.log"
    shell: "(seq 30; echo 'the last word') > {log}; touch began; {config[work]}; touch {output}"

rule unheard_of:
    input: "index.txt"
    output: "other.txt"
    shell: "touch {output}"
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "a benchmark"
    folder.mkdir()
    (folder / "Snakefile").write_text(SNAKEFILE)
    return folder


def command(folder, work):
    """index does `work` between its log and its output."""
    words = ["--snakefile", str(folder / "Snakefile"), "--directory", str(folder), "--cores", "1"]
    return [sys.executable, "-m", "covbench.cli", "run", "--", *words, "--config", f"work={work}"]


def call(folder, work, *more):
    return subprocess.run([*command(folder, work), *more], capture_output=True, text=True, timeout=300)


def start(folder):
    """The command, as soon as its job index is at work, which takes five seconds."""
    process = subprocess.Popen(
        command(folder, "sleep 5"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where these tests run behind a shell
    )
    ends = time.monotonic() + 120
    while not (folder / "began").exists():
        assert process.poll() is None
        assert time.monotonic() < ends
        time.sleep(0.1)
    return process


def read_log(printed):
    """Snakemake's own output, in the file that the first line names."""
    return Path(printed.splitlines()[0].removeprefix("Snakemake's output: ")).read_text()


def test_every_rule_of_the_workflow_belongs_to_a_stage():
    files = [ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
    named = re.compile(r"^(?:use )?rule (?:\w+ as )?(\w+)(?::| with:)", flags=re.MULTILINE)
    rules = {name for file in files for name in named.findall(file.read_text())}
    assert set(STAGE_OF) == rules - {"all"}


def test_without_a_terminal_each_finished_stage_is_a_line_and_snakemakes_words_are_in_the_file(folder):
    done = call(folder, "true")
    assert (done.returncode, done.stderr) == (0, "")
    shown = [re.sub(r"\d+ s$", "N s", line) for line in done.stdout.splitlines()[1:]]
    assert shown == ["fetch: 2 of 2 jobs in N s", "index: 1 of 1 jobs in N s", "unheard_of: 1 of 1 jobs in N s"]
    assert "5 of 5 steps (100%) done" in read_log(done.stdout)
    again = call(folder, "true", "--dry-run")
    assert "Nothing to be done" in again.stdout


def test_a_failure_shows_the_end_of_the_jobs_log_and_ends_with_snakemakes_code(folder):
    done = call(folder, "exit 3")
    assert done.returncode == 1
    assert f"index failed; the end of {folder}/logs/index.log:\n" in done.stderr
    assert "  30\n  the last word\n" in done.stderr
    assert "  16\n" not in done.stderr  # 15 lines: 17 to 30 and the last word
    assert "All that Snakemake said: " in done.stderr
    assert "Error in rule index:" in read_log(done.stdout)


def test_a_mistake_before_the_first_job_shows_snakemakes_last_words(folder):
    (folder / "Snakefile").write_text("rule all:\n    input: 'nowhere.txt'\n")
    done = call(folder, "true")
    assert done.returncode == 1
    assert "Missing input files for rule all:" in done.stderr


def test_a_terminal_has_a_bar_for_each_stage(folder):
    screen, line = pty.openpty()
    process = subprocess.Popen(command(folder, "true"), stdout=line, stderr=line, env=os.environ | {"TERM": "xterm"})
    os.close(line)
    shown = b""
    while True:
        try:
            shown += os.read(screen, 4096)
        except OSError:  # the terminal's other side is closed
            break
    assert process.wait(60) == 0
    for stage in (b"fetch ", b"index ", b"unheard_of "):
        assert stage in shown
    assert b"2/2" in shown
    assert b"Finished jobid" not in shown


def test_sigterm_lets_the_running_job_finish_and_starts_no_other(folder):
    process = start(folder)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 1
    assert (folder / "index.txt").exists()
    assert not (folder / "other.txt").exists()


def test_ctrl_c_stops_the_running_job_too_and_leaves_no_lock(folder):
    process = start(folder)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode not in (0, None)
    assert not (folder / "index.txt").exists()
    assert not (folder / ".snakemake" / "locks").exists()


def test_a_job_that_succeeds_at_its_second_attempt_has_not_failed():
    begun = ["Job stats:", "job      count", "-----  -------", "train_classifier   2", "all  1", "total   3", ""]
    begun += ["rule train_classifier:", "    log: logs/a.log", "    jobid: 7", "    wildcards: seed=0"]
    failed = ["Error in rule train_classifier:", "    jobid: 7"]
    failed += ["    log: logs/a.log (check log file(s) for error details)"]
    workflow = Workflow()
    for line in begun + failed:
        workflow.read_line(line)
    assert workflow.planned == {"train": 2}
    assert workflow.failed == {"7": Failure("train_classifier", "seed=0", "logs/a.log")}
    assert (workflow.started, workflow.finished["train"]) == (["train"], 0)
    workflow.read_line("Finished jobid: 7 (Rule: train_classifier)")
    assert (workflow.failed, workflow.finished["train"]) == ({}, 1)


@pytest.mark.parametrize(
    ("arguments", "directory"),
    [
        ([], "."),
        (["all", "--directory", "demo"], "demo"),
        (["--directory=a b"], "a b"),
        (["-d", "x"], "x"),
        (["-d"], "."),
    ],
)
def test_the_log_lies_where_snakemake_works(arguments, directory):
    assert find_directory(arguments) == Path(directory)
