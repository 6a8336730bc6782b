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


def test_nothing_is_installed_without_a_hash_of_the_lock():
    lines = call("--dry-run", "--assume-new", "pyproject.toml", ".venv/installed")
    installs = [line.split(" install ", 1)[1].split() for line in lines if "/pip install " in line]
    assert installs
    for words in installs:
        if "--editable" in words:
            assert {"--no-deps", "--no-build-isolation"} <= {*words}
        else:
            assert {"--require-hashes", "--only-binary", ":all:"} <= {*words}


def test_the_packages_that_are_built_are_those_without_a_wheel_and_their_builder_is_installed_first():
    lines = call("--dry-run", "--assume-new", "pyproject.toml", ".venv/installed")
    builder, locked = (line for line in lines if "--require-hashes" in line)
    assert "builder.txt" in builder
    assert any("setuptools" in line and "builder.txt" in line for line in lines[: lines.index(builder)])
    (built,) = re.findall(r"--no-binary (\S+)", locked)
    assert "--no-build-isolation" in locked
    lock = (ROOT / "envs" / "cpu.txt").read_text()
    hashes = {
        name: len(re.findall(rf"^{name}==.*\\\n((?:    --hash.*\n?)+)", lock, re.M)[0].splitlines())
        for name in built.split(",")
    }
    assert hashes == {"antlr4-python3-runtime": 1, "connection-pool": 1, "jsonpath-rw": 1}
