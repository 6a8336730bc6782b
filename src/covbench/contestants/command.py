"""Run a contestant's command: with little of this process's environment, and without a way to outlive the job."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from covbench.schema import CovbenchError
from covbench.system.threads import name_variables

log = logging.getLogger(__name__)

LAST_LINES = 20
INHERITED = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "SSL_CERT_FILE")
"""Variables of this process that a command sees too."""
PROGRESS = re.compile(r"progress (\d+)/(\d+)(?: (.+))?")
"""The line that a command prints after each step: `progress 3/20 loss 0.41`."""
PR_SET_PDEATHSIG = 1


@contextmanager
def link_temporary(home: Path) -> Iterator[Path]:
    """Make a folder for temporary files inside a command's own folder, and yield a short path to it.

    Programs that share work between processes, such as PyTorch, make sockets there, whose path has 107 letters at most.
    """
    (home / "tmp").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="covbench-") as folder:
        link = Path(folder) / "tmp"
        link.symlink_to((home / "tmp").resolve(), target_is_directory=True)
        yield link


def choose_environment(home: Path, temporary: Path, programs: Path, threads: int) -> dict[str, str]:
    """Choose the environment variables of a command.

    Args:
        home: its own folder.
        temporary: for its temporary files, as link_temporary yields it.
        programs: the folder of its Python, which comes first in PATH.
        threads: CPU threads.

    Returns:
        Values by name.
    """
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    path = os.pathsep.join(filter(None, (str(programs), kept.get("PATH", os.defpath))))
    own = {"PATH": path, "HOME": str(home), "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    return (
        kept | name_variables(threads) | {"MKL_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)} | own
    )


def run_command(
    words: list[str], folder: Path, environment: Mapping[str, str], note: Callable[[str], None] = lambda words: None
) -> None:
    """Run a command until it ends. Its output goes to the log. It dies with this process.

    Args:
        words: the command.
        folder: its working directory.
        environment: its variables.
        note: is called with each step that it prints, as PROGRESS: `3 of 20, loss 0.41`.

    Raises:
        CovbenchError: it cannot be started, or it fails. The last line that it printed is the reason.
    """
    last: deque[str] = deque(maxlen=LAST_LINES)
    log.info("runs %s", shlex.join(words))
    try:
        process = subprocess.Popen(
            words,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    except OSError as error:
        raise CovbenchError(f"command: {words[0]}: {error.strerror}; check `command` and `environment`") from error
    reader = threading.Thread(target=_read_lines, args=(process, last, note))
    reader.start()
    try:
        code = process.wait()
    finally:
        _end_group(process.pid)  # a program left behind would keep the pipe open
        reader.join()
    if code:
        reason = next((line for line in reversed(last) if line), "it printed nothing")
        ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        raise CovbenchError(f"the command {ended}: {reason}")


def _read_lines(process: subprocess.Popen[str], last: deque[str], note: Callable[[str], None]) -> None:
    """Log what a command prints, keep its last lines, and note its steps, until nobody can print any more."""
    assert process.stdout is not None
    for line in process.stdout:
        log.info("| %s", line.rstrip())
        last.append(line.strip())
        if found := PROGRESS.fullmatch(line.strip()):
            note(f"{found[1]} of {found[2]}" + (f", {found[3]}" if found[3] else ""))


def _end_group(leader: int) -> None:
    """End what a command has started and left behind."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _die_with_parent() -> None:
    """Ask Linux to end this process when the job ends, however the job ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
