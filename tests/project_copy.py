"""Copies of the project that a test may edit, and Python that imports the package of one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("src", "workflow", "config", "contestants", "envs", "profiles")


def copy_project(target: Path) -> Path:
    """The folder, which now holds what a run needs of the project: the package, the workflow and their settings."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "Snakefile", target)
    return target


def environment_of(project: Path) -> dict[str, str]:
    """The environment of a process that imports the package of a project, and not the one installed here."""
    return os.environ | {"PYTHONPATH": str(project / "src")}


def run_in(project: Path, code: str) -> str:
    """What a piece of Python prints that imports the package of a project."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment_of(project), timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()
