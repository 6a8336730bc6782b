"""What a training keeps on disk between two lives: its lock, its last two states and, once finished, its outputs."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from covbench.disk import explain_full_disk, require_space
from covbench.files import write_json, write_whole
from covbench.schema import CovbenchError, Run

log = logging.getLogger(__name__)

KEPT_STATES = 2
FINISHED = "finished"
FAILURE, FAILURE_LENGTH = "failure.txt", 1000

Arrays = Mapping[str, Sequence[np.ndarray]]


def checkpoint_folder(run: Run, fingerprint: str) -> Path:
    """Where a run with these inputs keeps its states: another fingerprint is another folder."""
    return run_checkpoints(run) / fingerprint[:16]


def run_checkpoints(run: Run) -> Path:
    """The folder of a run's lock and of the checkpoints of all its fingerprints."""
    return Path("checkpoints") / run.task / run.protocol / run.architecture / str(run.seed)


@contextmanager
def lock_run(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold `folder`/lock as long as this process lives; the kernel frees it whatever kills the process.

    What a killed process left half written below `folder` is removed. Where another process writes the same run, an
    orphaned cluster job, say, its end is waited for, or CovbenchError names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+", encoding="utf-8") as file:
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
        file.truncate(0)
        file.write(_describe_process())
        file.flush()
        for leftover in folder.glob("*/.*"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        yield


def is_running(run: Run, root: Path = Path()) -> bool:
    """Whether a process holds the run's lock. root: the folder that holds checkpoints/."""
    try:
        with open(root / run_checkpoints(run) / "lock", encoding="utf-8") as file:
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


def save_state(folder: Path, arrays: Arrays, facts: Mapping[str, Any]) -> Path:
    """Write a state beside the last ones and keep the newest two.

    arrays: named groups of arrays of any dtype but object. facts: plain values (JSON).
    Raises CovbenchError where the disk has no room; the states before stay as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    earlier = _list_states(folder)
    path = folder / f"state-{_number(earlier[-1]) + 1 if earlier else 1:06d}.npz"
    named = {f"{group}_{place:05d}": array for group, members in arrays.items() for place, array in enumerate(members)}
    text = json.dumps({"arrays": sorted(named), "facts": facts}, allow_nan=False).encode()
    what = f"the training state {path.name}; the last good one stays"
    require_space(folder, sum(array.nbytes for array in named.values()) + len(text), what)
    with explain_full_disk(folder, what), write_whole(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, contents=np.frombuffer(text, np.uint8), **named)  # type: ignore[arg-type]
    for old in [*earlier, path][:-KEPT_STATES]:
        old.unlink()
    return path


def load_state(folder: Path) -> tuple[dict[str, list[np.ndarray]], dict[str, Any]] | None:
    """The newest state that reads without a fault, as groups of arrays and facts; None where there is none.

    Every array is checked against the CRC-32 that the archive holds, their names against the list in it; a damaged
    state is named in the log, and the one before it taken.
    """
    for path in reversed(_list_states(folder)):
        try:
            named, facts = _read_state(path)
        except Exception as error:  # a damaged archive raises whatever its bytes lead to
            log.warning("%s is damaged (%s); the state before it is taken", path, error)
            continue
        groups: dict[str, list[np.ndarray]] = {}
        for name in sorted(named):
            groups.setdefault(name.rpartition("_")[0], []).append(named[name])
        return groups, facts
    return None


def _read_state(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    with np.load(path, allow_pickle=False) as archive:
        named = {name: archive[name] for name in archive.files}
    contents = json.loads(named.pop("contents").tobytes())
    if contents["arrays"] != sorted(named):
        raise ValueError("its list of arrays is not what it holds")
    return named, contents["facts"]


def _list_states(folder: Path) -> list[Path]:
    return sorted(folder.glob("state-*.npz"), key=_number)


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def keep_outputs(folder: Path, outputs: Mapping[str, str]) -> None:
    """Remember a finished run by links to its outputs, which cost no space, and drop the states that led there.

    Folders of other fingerprints of the same run go too: their models are of no use any more.
    """
    with _fresh_folder(folder / FINISHED) as fresh:
        for path in outputs.values():
            _link(Path(path), fresh / Path(path).name)
        write_json(fresh / "outputs.json", {name: Path(path).name for name, path in outputs.items()})
    for state in _list_states(folder):
        state.unlink()
    for other in folder.parent.iterdir():
        if other.is_dir() and other != folder:
            shutil.rmtree(other)


def publish_kept(folder: Path, outputs: Mapping[str, str]) -> bool:
    """Put the outputs of a finished run in place again; False where it has not finished with these inputs."""
    kept = folder / FINISHED
    if not (kept / "outputs.json").is_file():
        return False
    names = json.loads((kept / "outputs.json").read_text(encoding="utf-8"))
    if set(names) != set(outputs):
        return False
    for name, path in outputs.items():
        with write_whole(path) as temporary:
            _link(kept / names[name], temporary)
            os.utime(temporary)  # newer than the inputs, or the job would be asked for again
    return True


@contextmanager
def _fresh_folder(folder: Path) -> Iterator[Path]:
    """A new folder that takes the name `folder` once it is whole."""
    fresh = folder.with_name(f".{os.getpid()}.{folder.name}")
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links, or outputs on another one
        shutil.copy2(source, target)
