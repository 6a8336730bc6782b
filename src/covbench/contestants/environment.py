"""Install the packages that a contestant runs with into a virtual environment of its own."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path

from covbench.schema import CovbenchError

log = logging.getLogger(__name__)

LAST_LINES = 15


def make_environment(requirements: Path, folder: Path) -> None:
    """Make a virtual environment with this Python. Every package needs a hash in the requirements file.

    A package without a wheel is built by the setuptools of the same file, so that nothing unhashed is installed.

    Args:
        requirements: in the format of pip, with hashes.
        folder: what is there is replaced. Its `bin` holds the programs.

    Raises:
        CovbenchError: pip refuses a package or does not find it. The end of its output is the reason.
    """
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)], requirements)
    install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    install += ["--require-hashes"]
    builder = find_builder(requirements.read_text(encoding="utf-8"))
    if builder:
        (folder / "builder.txt").write_text(builder, encoding="utf-8")
        _run([*install, "--only-binary", ":all:", "-r", str(folder / "builder.txt")], requirements)
    how = ["--no-build-isolation"] if builder else ["--only-binary", ":all:"]
    _run([*install, *how, "-r", str(requirements)], requirements)


def find_builder(text: str) -> str:
    """Find the lines of setuptools, which builds packages without a wheel, in a requirements file; empty if none."""
    found = re.search(r"^setuptools==.*\n(?:[ \t].*\n?)*", text, flags=re.MULTILINE)
    return found[0] if found else ""


def _run(words: list[str], requirements: Path) -> None:
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    for line in done.stdout.splitlines():
        log.info("| %s", line)
    if done.returncode:
        shown = "\n".join(done.stdout.strip().splitlines()[-LAST_LINES:])
        raise CovbenchError(f"{requirements}: cannot be installed; pip says:\n{shown}")
