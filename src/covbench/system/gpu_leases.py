"""Lease GPUs to one job at a time, with locks that end with their process.

Call it before TensorFlow is imported.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import random
import stat
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from covbench.schema import CovbenchError

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
FOLDER = Path("/tmp")  # the same for every job of a machine, whatever its TMPDIR
POLL_SECONDS = 0.3
MESSAGE_SECONDS = 600  # between two log messages about waiting


def lease_gpus(count: int) -> list[str]:
    """Wait until `count` GPUs are free, keep them until this process and its children end, and hide all others.

    The GPUs are chosen among those in CUDA_VISIBLE_DEVICES if it is set, otherwise among all that nvidia-smi lists. The
    chosen ones are written to CUDA_VISIBLE_DEVICES and returned.

    No GPU is leased (`[]`) in three cases: if `count` is 0, which hides every GPU; on a machine without GPUs; and under
    SLURM if the allocation holds no more than `count`. A larger allocation is divided among its jobs. A lease only
    keeps out other jobs of the same user on the same machine.

    Raises CovbenchError if `count` is larger than the number of GPUs.
    """
    if count == 0:
        os.environ[VISIBLE] = ""
        return []
    slurm = os.environ.get("SLURM_JOB_ID")
    pool = _named_gpus() if slurm else list_gpus()
    if slurm and pool:
        log.info("SLURM job %s on %s holds GPU %s", slurm, os.environ.get("SLURMD_NODENAME", "?"), ", ".join(pool))
    if not pool or (slurm and len(pool) <= count):
        return []
    if len(pool) < count:
        raise CovbenchError(f"resources: gpu={count}, but only {len(pool)} are available: {', '.join(pool)}")
    leased = _wait_for(pool, count, _private_folder(f"slurm-{slurm}" if slurm else "machine"))
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # nvidia-smi's; CUDA's own puts the fastest first
    os.environ[VISIBLE] = ",".join(leased)
    log.info("GPU %s of %s", ", ".join(leased), ", ".join(pool))
    return leased


def list_gpus() -> list[str]:
    """The GPUs that this process may use: those of CUDA_VISIBLE_DEVICES if it is set, or else all of the machine."""
    return _named_gpus() if VISIBLE in os.environ else _installed_gpus()


def _named_gpus() -> list[str]:
    names = [name.strip() for name in os.environ.get(VISIBLE, "").split(",")]
    return [name for name in names if name and name != "-1"]


def _installed_gpus() -> list[str]:
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.split()
    except FileNotFoundError:
        return []
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("nvidia-smi failed (%s): no GPU is leased", error)
        return []


def _private_folder(name: str) -> Path:
    """Return a folder that only this user can write to.

    Raises CovbenchError if somebody else could have replaced it.
    """
    folder = FOLDER / f"covbench-gpus-{os.getuid()}"
    for path in (folder, folder / name):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise CovbenchError(f"{path}: must be a folder that only you can write to; remove it")
    return folder / name


def _wait_for(pool: Sequence[str], count: int, folder: Path) -> list[str]:
    next_message = started = time.monotonic()
    while not (held := _try_all(pool, count, folder)):
        if time.monotonic() >= next_message:
            log.info("waiting for %d of the GPUs %s: other jobs of yours hold them", count, ", ".join(pool))
            next_message += MESSAGE_SECONDS
        time.sleep(POLL_SECONDS * random.uniform(0.5, 1.5))
    if next_message > started:
        log.info("waited %.0f s for a GPU", time.monotonic() - started)
    return held


def _try_all(pool: Sequence[str], count: int, folder: Path) -> list[str]:
    """Lock `count` GPUs of the pool, or none. The kernel frees a lock when the last process that inherited it ends."""
    held: dict[str, int] = {}
    for name in pool:
        descriptor = os.open(folder / f"{name.replace('/', '_')}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        held[name] = descriptor
        if len(held) == count:
            for descriptor in held.values():
                os.set_inheritable(descriptor, True)
            return list(held)
    for descriptor in held.values():
        os.close(descriptor)
    return []
