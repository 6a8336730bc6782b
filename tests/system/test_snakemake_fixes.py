"""Snakemake starts Python below a folder with a space, in scripts and in jobs of an executor."""

import inspect
import sys

from snakemake.script import PythonScript
from snakemake_executor_plugin_slurm_jobstep import Executor as JobStepExecutor
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from covbench.system.snakemake_fixes import quote_interpreters


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
