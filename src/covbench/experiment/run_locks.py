"""Where a run keeps its checkpoints, which process writes it, and the error that ended its last training."""

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
"""Lock files in a run's folder. The first keeps a second writer out. is_running looks only at the second."""
FAILURE, FAILURE_LENGTH = "failure.txt", 1000
PROGRESS = "progress.txt"


def checkpoint_folder(run: Run, fingerprint: str) -> Path:
    """Return the folder in which a run keeps its states. Each fingerprint has its own."""
    return run_checkpoints(run) / fingerprint[:16]


def run_checkpoints(run: Run) -> Path:
    """Return the folder that holds a run's lock and the checkpoints of all its fingerprints."""
    return Path("checkpoints") / run.path


@contextmanager
def lock_run(folder: Path, wait: bool = False) -> Iterator[None]:
    """Lock a run's folder. The kernel frees the lock when the process ends, even if it is killed.

    Files that a killed process left half written below `folder` are removed. If another process writes the same run,
    such as an orphaned cluster job, this one waits if `wait` is set. Otherwise, CovbenchError names the other process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / WRITER, "a+", encoding="utf-8") as file, open(folder / SIGN_OF_LIFE, "a") as sign:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "an unknown process"
            if not wait:
                raise CovbenchError(
                    f"{folder}: {holder} is writing this run; wait until it has finished, or stop it, and start again"
                ) from error
            log.info("waits: %s is writing this run", holder)
            fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.flock(sign, fcntl.LOCK_EX)  # only is_running can hold it, for an instant
        file.truncate(0)
        file.write(_describe_process())
        file.flush()
        for leftover in folder.glob("*/.*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        yield


def is_running(run: Run, root: Path = Path()) -> bool:
    """Whether a process is writing the run. `root` is the folder that holds checkpoints/.

    The check never touches the writer's lock, so a training that starts at the same moment is not refused.
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
    """Keep the message of an error that is raised inside, until the run starts again. read_failure returns it.

    A request to stop (SystemExit) is not an error. A killed process leaves no message.
    """
    note = run_checkpoints(run) / FAILURE
    note.unlink(missing_ok=True)
    note.with_name(PROGRESS).unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        words = str(error) if isinstance(error, CovbenchError) else f"{type(error).__name__}: {error}"
        with suppress(OSError, CovbenchError), write_whole(note) as temporary:  # a full disk must not hide the error
            temporary.write_text(words[:FAILURE_LENGTH], encoding="utf-8")
        raise


def read_failure(run: Run, root: Path = Path()) -> str:
    """Read the error that ended the run's last training; empty if it did not fail. `root` holds checkpoints/."""
    note = root / run_checkpoints(run) / FAILURE
    return note.read_text(encoding="utf-8", errors="replace").strip() if note.exists() else ""


def note_progress(run: Run, words: str) -> None:
    """Keep how far a running run is, such as `3 of 20, loss 0.41`. read_progress returns it."""
    with write_whole(run_checkpoints(run) / PROGRESS) as temporary:
        temporary.write_text(words[:FAILURE_LENGTH], encoding="utf-8")


def read_progress(run: Run, root: Path = Path()) -> str:
    """Read how far a running run is; empty if it does not say. `root` is the folder that holds checkpoints/."""
    note = root / run_checkpoints(run) / PROGRESS
    return note.read_text(encoding="utf-8", errors="replace").strip() if note.exists() else ""


def _describe_process() -> str:
    job = os.environ.get("SLURM_JOB_ID")
    return f"process {os.getpid()} on {socket.gethostname()}" + (f" (SLURM job {job})" if job else "")
