"""Snakemake starts Python below a folder with a space, and its scheduler waits without turning in circles."""

import inspect
import sys
import threading
from types import SimpleNamespace

from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.script import PythonScript
from snakemake_executor_plugin_slurm_jobstep import Executor as JobStepExecutor
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from covbench.system.snakemake_fixes import look_once_a_second, quote_interpreters


def test_the_interpreter_of_a_script_is_quoted_once_however_often_the_repair_is_made(monkeypatch):
    seen = []
    monkeypatch.setattr(PythonScript, "_execute_cmd", lambda script, command, **parts: seen.append((command, parts)))
    quote_interpreters()
    quote_interpreters()
    PythonScript._execute_cmd(None, "{py_exec} {fname:q}", py_exec="/a b/python", fname="x")
    assert seen == [("{py_exec:q} {fname:q}", {"py_exec": "/a b/python", "fname": "x"})]


def test_snakemake_still_writes_the_command_that_the_repair_looks_for():
    """If this fails, Snakemake has changed: the repair may have become unnecessary or useless."""
    assert '"{py_exec} {fname:q}"' in inspect.getsource(PythonScript.execute_script)


def test_the_interpreter_of_a_cluster_job_is_quoted_once(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/a b/python")
    for executor in (RemoteExecutor, JobStepExecutor):
        monkeypatch.setattr(executor, "get_python_executable", lambda self: sys.executable)
    quote_interpreters()
    quote_interpreters()
    for executor in (RemoteExecutor, JobStepExecutor):
        assert executor.get_python_executable(object()) == "'/a b/python'"


def test_a_scheduler_waits_for_one_look_at_a_time_and_for_another_one_after_it():
    look_once_a_second()
    look_once_a_second()
    scheduler = SimpleNamespace(_open_jobs=threading.Semaphore(0))
    for _ in range(2):
        for _ in range(20):
            JobScheduler._schedule_reevalutation(scheduler, 0.05)
        assert scheduler._open_jobs.acquire(timeout=10)
        assert not scheduler._open_jobs.acquire(timeout=0.3)


def test_snakemake_still_starts_a_timer_in_each_turn_of_its_loop():
    """If this fails, Snakemake has changed: the repair may have become unnecessary or useless."""
    assert "self._schedule_reevalutation(self.job_rate_limiter.timespan)" in inspect.getsource(JobScheduler.schedule)
