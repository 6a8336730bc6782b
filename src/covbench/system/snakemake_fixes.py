"""Three repairs of Snakemake 9.27, and a check of what it cannot do.

It does not quote its Python, so nothing starts below a folder with a space:

- Scripts: https://github.com/snakemake/snakemake/issues/2645
- Jobs of an executor (SLURM): https://github.com/snakemake/snakemake/issues/3211

While jobs wait, its scheduler turns as many times a second as jobs have ended, until it fills a core:
https://github.com/snakemake/snakemake/pull/3744
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from typing import Any

from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.script import PythonScript
from snakemake_executor_plugin_slurm_jobstep import Executor as JobStepExecutor
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from covbench.schema import CovbenchError

FIXED = "_covbench_repaired"


def quote_interpreters() -> None:
    """Quote the interpreter in the commands of scripts and of cluster jobs; calling it again changes nothing."""
    _replace(PythonScript, "_execute_cmd", _quote_in_script)
    for executor in (RemoteExecutor, JobStepExecutor):
        _replace(executor, "get_python_executable", _quote_in_job)


def look_once_a_second() -> None:
    """Let a scheduler wait for one look at a time; calling it again changes nothing.

    Each turn of its loop starts a timer of a second for another turn, and each job that ends causes a turn too. So
    every ended job adds a turn to each second that follows.
    """
    _replace(JobScheduler, "_schedule_reevalutation", _look_once)


UNUSABLE = {
    "{": "Snakemake takes braces in a path for a wildcard",
    "}": "Snakemake takes braces in a path for a wildcard",
    ":": "Python's list of folders to import from ends a folder at a colon",
}
"""Character that the path of the project may not hold -> why."""


def require_usable_path(project: str) -> None:
    """Raise CovbenchError if no workflow can run from the folder of the project because of its name."""
    for character, reason in UNUSABLE.items():
        if character in project:
            raise CovbenchError(
                f"{project}: {reason}; move the project to a folder without {character} "
                "(that of --directory may have it)"
            )


def _replace(owner: type, name: str, repair: Callable[[Callable], Callable]) -> None:
    original = getattr(owner, name)
    if not hasattr(original, FIXED):
        repaired = repair(original)
        setattr(repaired, FIXED, True)
        setattr(owner, name, repaired)


def _quote_in_script(execute: Callable) -> Callable:
    def execute_quoted(script: PythonScript, command: str, **parts: Any) -> Any:
        return execute(script, command.replace("{py_exec} ", "{py_exec:q} "), **parts)

    return execute_quoted


def _quote_in_job(find_python: Callable) -> Callable:
    return lambda executor: shlex.quote(find_python(executor))


def _look_once(_: Callable) -> Callable:
    waiting: set[int] = set()  # schedulers, by id

    def schedule(scheduler: JobScheduler, delay: float) -> None:
        def look() -> None:
            waiting.discard(id(scheduler))  # first, since the turn that follows schedules the next look
            scheduler._open_jobs.release()

        if id(scheduler) not in waiting:
            waiting.add(id(scheduler))
            threading.Timer(delay, look).start()

    return schedule
