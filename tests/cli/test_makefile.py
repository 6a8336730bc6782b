"""The Makefile: `make` alone prints every target, and what its recipes call exists."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from covbench.cli import build_parser

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Makefile").read_text()

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="apt-get install make")


def call(*arguments):
    outside = {
        name: value for name, value in os.environ.items() if not name.startswith("MAKE")
    }  # not part of make test
    done = subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, env=outside)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_make_alone_prints_each_target_with_what_it_does():
    (phony,) = re.findall(r"^\.PHONY: (.+)$", TEXT, flags=re.MULTILINE)
    printed = [re.fullmatch(r"make ([\w-]+) {2,}(\S.+)", line) for line in call()]
    assert all(printed)
    assert sorted(line[1] for line in printed) == sorted(phony.split())


@pytest.mark.parametrize("target", ["demo", "sample", "status", "forecast", "mlflow"])
def test_what_a_target_calls_is_a_command_with_these_arguments(target):
    lines = call("--dry-run", "--assume-old", ".venv/installed", target, "MIRROR=.", "DIRECTORY=.")
    called = [line.split(".venv/bin/covbench ")[1] for line in lines if ".venv/bin/covbench " in line]
    assert called
    for words in called:
        command, *arguments = words.split()
        arguments = [argument.strip('"').replace("demo/", ".").replace("sample/", ".") for argument in arguments]
        if command == "summary":
            arguments = ["."]  # there is none before the first run
        assert callable(build_parser().parse_args([command, *arguments]).run)
