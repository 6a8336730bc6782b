"""Run Snakemake with a progress line per stage, its own output in a log file, and the end of a failed job's log."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

HELP = """\
Run Snakemake and show one progress line for each stage. Everything after -- goes to snakemake as it is.

Snakemake's own output goes to a file in logs/snakemake of the working directory; its name is printed first. If a job
fails, the end of its log is printed, and the command ends with Snakemake's exit code. Ctrl-C and SIGTERM are passed on:
trainings save their state and continue from there when you repeat the command. Without a terminal, a plain line is
printed when a stage has finished.
"""
EXAMPLES = """\
examples:
  covbench run -- --cores 8 --resources gpu=2
  covbench run -- all --configfile config/demo.yaml --directory demo --cores 2
  covbench run -- --workflow-profile profiles/slurm
"""

STAGES = {
    "fetch": ("fetch", "fetch_weights"),
    "index": ("index",),
    "audit": (
        "make_thumbnails",
        "find_duplicates",
        "audit",
        "audit_sources",
        "audit_labels",
        "audit_lungs",
        "audit_datasets",
    ),
    "split": ("split",),
    "prepare": ("prepare", "prepare_masks", "prepare_native_masks", "prepare_lungs"),
    "install": ("make_environment",),
    "train": (
        "train_trial",
        "train_classifier",
        "train_segmenter",
        "average",
        "average_masks",
        "fit_classification_baseline",
        "fit_segmentation_baseline",
    ),
    "predict": (
        "predict_external",
        "predict_controls",
        "predict_external_masks",
        "predict_external_baseline",
        "predict_external_baseline_masks",
        "take_external",
        "take_external_masks",
        "average_external",
        "average_external_masks",
    ),
    "evaluate": ("evaluate", "evaluate_contestant", "evaluate_external", "evaluate_external_masks"),
    "compare": ("compare", "compare_external", "compare_controls", "compare_search"),
    "explain": ("explain",),
    "report": ("report", "partial_report"),
    "track": ("track",),
}
"""Stage -> rules of the workflow; a rule that is not here is a stage by itself."""
STAGE_OF = {rule: stage for stage, rules in STAGES.items() for rule in rules}
TARGET = "all"  # a rule without work
CONTESTANT = "run_"  # how the rule of a contestant from elsewhere starts

LAST_LINES = 15
SHOWN_FAILURES = 3
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Failure:
    """A job that failed.

    wildcards: such as `task=covid_ct, seed=0`. log: its log file; empty if it has none.
    """

    rule: str
    wildcards: str
    log: str


@dataclass
class Workflow:
    """The state of the workflow, from Snakemake's output so far.

    planned, finished: Number of jobs by stage. started: Stages, in the order of their first jobs. failed: Failures by
    job number.
    """

    planned: Counter[str] = field(default_factory=Counter)
    finished: Counter[str] = field(default_factory=Counter)
    started: list[str] = field(default_factory=list)
    failed: dict[str, Failure] = field(default_factory=dict)
    _wildcards: dict[str, str] = field(default_factory=dict)
    _block: dict[str, str] = field(default_factory=dict)

    def read_line(self, line: str) -> None:
        """Update the state from one line of the output."""
        if self._block and (found := re.match(r" {4}(jobid|log|wildcards): (.*)", line)):
            self._block[found[1]] = found[2].removesuffix(" (check log file(s) for error details)")
            self._note_block()
        elif found := re.fullmatch(r"(?:local)?(rule|Error in rule) (\w+):", line):
            self._block = {"kind": found[1], "rule": found[2]}
            self._note_start(_stage_of(found[2]))
        elif line == "Job stats:":
            self.planned.clear()
            self._block = {"kind": "table"}
        elif self._block.get("kind") == "table" and (found := re.fullmatch(r"(\w+) +(\d+)", line)):
            if found[1] not in (TARGET, "total"):
                self.planned[_stage_of(found[1])] += int(found[2])
        elif found := re.match(r"Finished jobid: (\d+) \(Rule: (\w+)\)", line):
            self.failed.pop(found[1], None)  # an earlier attempt
            self.finished[_stage_of(found[2])] += found[2] != TARGET

    def _note_start(self, stage: str) -> None:
        if stage not in (TARGET, *self.started):
            self.started.append(stage)

    def _note_block(self) -> None:
        """Keep the content of the indented lines below `rule X:` or `Error in rule X:`."""
        job, block = self._block.get("jobid", ""), self._block
        if block["kind"] == "rule":
            self._wildcards[job] = block.get("wildcards", "")
        elif job:
            self.failed[job] = Failure(block["rule"], self._wildcards.get(job, ""), block.get("log", ""))


def _stage_of(rule: str) -> str:
    return STAGE_OF.get(rule, "train" if rule.startswith(CONTESTANT) else rule)


def run_snakemake(arguments: Sequence[str]) -> int:
    """Run Snakemake and show its progress.

    Args:
        arguments: The command line after `snakemake`.

    Returns:
        Snakemake's exit code, or 128 + the number of the signal that killed it.
    """
    directory = find_directory(arguments)
    log = directory / "logs" / "snakemake" / f"{datetime.now():%Y-%m-%d_%H%M%S}_{os.getpid()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"Snakemake's output: {log}", flush=True)
    workflow = Workflow()
    with _start(arguments, log) as process:
        try:
            _watch(process, log, workflow)
        except BrokenPipeError:  # `| head` reads no further, but the runs continue
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = process.wait()
    if code:
        print(_describe_failures(workflow, directory, log), file=sys.stderr)
    elif not workflow.finished.total():  # a dry run, or nothing to do
        print(log.read_text(encoding="utf-8", errors="replace"), end="")
    return code if code >= 0 else 128 - code


def find_directory(arguments: Sequence[str]) -> Path:
    """Find the folder in which Snakemake will work: that of --directory or -d, or the current one."""
    for position, argument in enumerate(arguments):
        if argument in ("--directory", "-d"):
            return Path(*arguments[position + 1 : position + 2])
        if argument.startswith("--directory="):
            return Path(argument.partition("=")[2])
    return Path()


@contextmanager
def _start(arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start Snakemake with its output in `log`, and pass signals on to it. Ctrl-C goes to its jobs too."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:backslashreplace"}
    with open(log, "wb") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, process_group=0
        )

    def pass_on(number: int, frame: FrameType | None) -> None:
        if process.poll() is not None:
            return
        if number == signal.SIGINT:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGTERM)

    numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        yield process
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(process: subprocess.Popen[bytes], log: Path, workflow: Workflow) -> None:
    """Show progress until the process has ended and the whole log is read."""
    with open(log, encoding="utf-8", errors="replace") as file, _show_progress() as show:
        rest, ended = "", False
        while not ended:
            ended = process.poll() is not None  # checked before reading, so that the last lines are read too
            *lines, rest = (rest + file.read()).split("\n")
            for line in lines:
                workflow.read_line(line)
            show.update(workflow)
            if not ended:
                time.sleep(POLL_SECONDS)


class _Bars:
    """Shows a bar per stage, in a terminal."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.tasks: dict[str, TaskID] = {}

    def update(self, workflow: Workflow) -> None:
        for stage in workflow.started:
            if stage not in self.tasks:
                self.tasks[stage] = self.progress.add_task(stage)
            done, planned = workflow.finished[stage], workflow.planned[stage]
            self.progress.update(self.tasks[stage], completed=done, total=planned)


class _Lines:
    """Prints a plain line when the last job of a stage has finished."""

    def __init__(self) -> None:
        self.since: dict[str, float] = {}
        self.shown: set[str] = set()

    def update(self, workflow: Workflow) -> None:
        for stage in workflow.started:
            begun = self.since.setdefault(stage, time.monotonic())
            done, planned = workflow.finished[stage], workflow.planned[stage]
            if done >= planned and stage not in self.shown:
                self.shown.add(stage)
                print(f"{stage}: {done} of {planned} jobs in {time.monotonic() - begun:.0f} s", flush=True)


@contextmanager
def _show_progress() -> Iterator[_Bars | _Lines]:
    console = Console()
    if not console.is_terminal:
        yield _Lines()
        return
    columns = TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress)


def _describe_failures(workflow: Workflow, directory: Path, log: Path) -> str:
    """Show the end of the log of every failed job, or of Snakemake's own log if no job failed."""
    failures = list(workflow.failed.values())
    said = [_describe_failure(failure, directory) for failure in failures[:SHOWN_FAILURES]]
    if len(failures) > SHOWN_FAILURES:
        said.append(f"{len(failures) - SHOWN_FAILURES} more jobs failed.")
    if not failures:
        said.append(_read_end(log))
    return "\n".join([*said, f"All that Snakemake said: {log}"])


def _describe_failure(failure: Failure, directory: Path) -> str:
    job = f"{failure.rule} ({failure.wildcards})" if failure.wildcards else failure.rule
    path = directory / failure.log
    if not failure.log or not path.is_file():
        return f"{job} failed and left no log."
    return f"{job} failed; the end of {path}:\n{_read_end(path)}"


def _read_end(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([f"  {line}" for line in lines if line.strip()][-LAST_LINES:])
