"""Where a run keeps its checkpoints, which process is writing it, and with which words its last training ended."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from covbench.schema import CovbenchError, Run
from covbench.system.files import write_whole

log = logging.getLogger(__name__)

WRITER, SIGN_OF_LIFE = "lock", "running"
"""Lock files in a run's folder. The first keeps a second writer out; status looks at the second alone."""
FAILURE, FAILURE_LENGTH = "failure.txt", 1000


def checkpoint_folder(run: Run, fingerprint: str) -> Path:
    """Where a run with these inputs keeps its states: another fingerprint is another folder."""
    return run_checkpoints(run) / fingerprint[:16]


def run_checkpoints(run: Run) -> Path:
    """The folder of a run's lock and of the checkpoints of all its fingerprints."""
    return Path("checkpoints") / run.task / run.protocol / run.architecture / str(run.seed)


@contextmanager
def lock_run(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold a run's folder as long as this process lives; the kernel frees it whatever kills the process.

    What a killed process left half written below `folder` is removed. If another process writes the same run (an
    orphaned cluster job, for example), its end is waited for with `wait`; otherwise CovbenchError names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / WRITER, "a+", encoding="utf-8") as file, open(folder / SIGN_OF_LIFE, "a") as sign:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "a process that did not say its name"
            if not wait:
                raise CovbenchError(
                    f"{folder}: {holder} is writing this run; wait until it has finished, or stop it, and start again"
                ) from error
            log.info("waits: %s is writing this run", holder)
            fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.flock(sign, fcntl.LOCK_EX)  # only is_running can be there, for an instant
        file.truncate(0)
        file.write(_describe_process())
        file.flush()
        for leftover in folder.glob("*/.*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        yield


def is_running(run: Run, root: Path = Path()) -> bool:
    """Whether a process is writing the run. root: the folder that holds checkpoints/.

    The probe never touches the writer's lock, so it cannot refuse a training that starts at the same moment.
    """
    try:
        with open(root / run_checkpoints(run) / SIGN_OF_LIFE, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


@contextmanager
def note_failure(run: Run) -> Iterator[None]:
    """Keep the words of an error raised inside, for read_failure, until the run is started again.

    Being told to stop (SystemExit) is no error. A process that is killed leaves no words.
    """
    note = run_checkpoints(run) / FAILURE
    note.unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        words = str(error) if isinstance(error, CovbenchError) else f"{type(error).__name__}: {error}"
        with suppress(OSError), write_whole(note) as temporary:  # a full disk must not hide what went wrong
            temporary.write_text(words[:FAILURE_LENGTH], encoding="utf-8")
        raise


def read_failure(run: Run, root: Path = Path()) -> str:
    """With which words the run's last training ended; empty where it did not fail. root: that of checkpoints/."""
    note = root / run_checkpoints(run) / FAILURE
    return note.read_text(encoding="utf-8", errors="replace").strip() if note.exists() else ""


def _describe_process() -> str:
    job = os.environ.get("SLURM_JOB_ID")
    return f"process {os.getpid()} on {socket.gethostname()}" + (f" (SLURM job {job})" if job else "")
