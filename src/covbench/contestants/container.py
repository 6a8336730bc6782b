"""Run a contestant's command in a container, which sees no network and nothing of this machine but its own folders."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from covbench.contestants.command import run_command
from covbench.schema import CovbenchError

PROGRAMS = ("apptainer", "podman", "docker")
"""What can run a container, in the order of preference: clusters have the first, and the second needs no daemon."""
OF_THIS_MACHINE = ("PATH", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "TMPDIR")
"""Variables that mean nothing inside, or something else."""


@dataclass(frozen=True)
class Bound:
    """What a container sees. given: to read. own: folders to write. place: the one in which it starts."""

    given: Path
    own: Sequence[Path]
    place: Path


def run_contained(
    words: Sequence[str],
    image: str,
    bound: Bound,
    variables: Mapping[str, str],
    gpu: bool,
    note: Callable[[str], None],
) -> None:
    """Run a command in a container until it ends, as command.run_command does without one.

    Args:
        words: the command.
        image: with its digest: NAME@sha256:….
        bound: the folders that it sees, under the paths that they have here.
        variables: environment variables by name. Those that mean something else inside are left out.
        gpu: whether it gets a GPU.
        note: is called with each step that it prints.

    Raises:
        CovbenchError: nothing here runs containers, or the command fails.
    """
    program = find_program()
    remove_container(bound.place, program)
    try:
        run_command(wrap_command(words, image, bound, variables, gpu, program), bound.place, os.environ, note)
    finally:
        remove_container(bound.place, program)


def find_program() -> str:
    """Find the program that runs containers here. Raises CovbenchError if there is none."""
    found = next(filter(shutil.which, PROGRAMS), "")
    if not found:
        raise CovbenchError(
            f"environment.container: none of {', '.join(PROGRAMS)} is installed here; install one, or use requirements"
        )
    return found


def wrap_command(
    words: Sequence[str], image: str, bound: Bound, variables: Mapping[str, str], gpu: bool, program: str
) -> list[str]:
    """Let a command run in a container instead of on this machine.

    Args:
        words: the command.
        image: with its digest: NAME@sha256:….
        bound: the folders that it sees, under the paths that they have here.
        variables: environment variables by name. Those that mean something else inside are left out.
        gpu: whether it gets the GPUs that CUDA_VISIBLE_DEVICES names.
        program: one of PROGRAMS.

    Returns:
        The words of the command that starts the container.
    """
    inside = {name: value for name, value in variables.items() if name not in OF_THIS_MACHINE}
    binds = [f"{bound.given}:{bound.given}:ro", *(f"{folder}:{folder}" for folder in bound.own)]
    if program == "apptainer":
        call, bind, image = _call_apptainer(bound.place, gpu), "--bind", f"docker://{image}"
    else:
        call, bind = _call_engine(program, bound.place, gpu), "--volume"
    call += [word for folders in binds for word in (bind, folders)]
    call += [word for name, value in inside.items() for word in ("--env", f"{name}={value}")]
    return [*call, image, *words]


def _call_apptainer(place: Path, gpu: bool) -> list[str]:
    call = ["apptainer", "exec", "--containall", "--no-home", "--net", "--network", "none", "--pwd", str(place)]
    return [*call, "--nv"] if gpu else call


def _call_engine(program: str, place: Path, gpu: bool) -> list[str]:
    """Begin the command of podman or docker."""
    call = [program, "run", "--rm", "--name", name_container(place), "--network=none", "--workdir", str(place)]
    if program == "docker":  # its daemon is root; podman maps this user by itself
        call += ["--user", f"{os.getuid()}:{os.getgid()}"]
    if gpu:
        call += ["--gpus", "all"] if program == "docker" else ["--device", "nvidia.com/gpu=all"]
    return call


def name_container(place: Path) -> str:
    """Name the container of a working folder, so that the one of a killed job can be found."""
    return f"covbench-{hashlib.sha256(str(place).encode()).hexdigest()[:16]}"


def remove_container(place: Path, program: str) -> None:
    """End the container that a killed job has left running. It does not die with the program that started it."""
    for verb in () if program == "apptainer" else (["kill"], ["rm", "--force"]):
        subprocess.run([program, *verb, name_container(place)], capture_output=True)
