"""Lease GPUs to one job at a time, with leases that end with their process. All users of a machine share them.

A lease is an abstract Unix socket bound to the name of the GPU. The kernel lets one process bind a name and frees it
when the last process that inherited the socket ends. No file is involved, so nobody can put one in the way, and none
stays behind. Call it before TensorFlow is imported.
"""

from __future__ import annotations

import errno
import logging
import os
import pwd
import random
import socket
import struct
import subprocess
import time
from collections.abc import Sequence

from covbench.schema import CovbenchError

log = logging.getLogger(__name__)

VISIBLE = "CUDA_VISIBLE_DEVICES"
PREFIX = "covbench-gpu"
NAME_BYTES = 60  # of a GPU: the name of a socket has 107 bytes at most
POLL_SECONDS = 0.3
MESSAGE_SECONDS = 600  # between two log messages about waiting


def lease_gpus(count: int) -> list[str]:
    """Wait until `count` GPUs are free, keep them until this process and its children end, and hide all others.

    The GPUs are chosen among those in CUDA_VISIBLE_DEVICES if it is set, otherwise among all that nvidia-smi lists. The
    chosen ones are written to CUDA_VISIBLE_DEVICES and returned.

    No GPU is leased (`[]`) in three cases: if `count` is 0, which hides every GPU; on a machine without GPUs; and under
    SLURM if the allocation holds no more than `count`. A larger allocation is divided among its jobs. A lease keeps
    out other jobs of covbench on the same machine, whoever runs them.

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
    leased = _wait_for(pool, count, f"slurm-{slurm}" if slurm else "machine")
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


def _wait_for(pool: Sequence[str], count: int, place: str) -> list[str]:
    next_message = started = time.monotonic()
    while not (held := _try_all(pool, count, place)):
        if time.monotonic() >= next_message:
            holders = "; ".join(filter(None, (_find_holder(name, place) for name in pool)))
            log.info("waiting for %d of the GPUs %s: %s", count, ", ".join(pool), holders or "other jobs hold them")
            next_message += MESSAGE_SECONDS
        time.sleep(POLL_SECONDS * random.uniform(0.5, 1.5))
    if next_message > started:
        log.info("waited %.0f s for a GPU", time.monotonic() - started)
    return held


def _try_all(pool: Sequence[str], count: int, place: str) -> list[str]:
    """Lease `count` GPUs of the pool, or none. `place` is the machine, or the SLURM job that divides its GPUs."""
    held: dict[str, socket.socket] = {}
    for name in pool:
        lease = socket.socket(socket.AF_UNIX)
        try:
            lease.bind(_name_socket(name, place))
            lease.listen()  # so that others can ask the kernel who holds it
        except OSError as error:
            lease.close()
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        held[name] = lease
        if len(held) == count:
            for lease in held.values():
                os.set_inheritable(lease.detach(), True)
            return list(held)
    for lease in held.values():
        lease.close()
    return []


def _name_socket(name: str, place: str) -> bytes:
    return os.fsencode(f"\0{PREFIX}/{place}/") + os.fsencode(name)[:NAME_BYTES]


def _find_holder(name: str, place: str) -> str:
    """Say which process of which user holds a GPU; empty if none does, or it cannot be known."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        try:
            asking.connect(_name_socket(name, place))
            process, user, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            return ""
    return f"process {process} of {_name_user(user)} holds {name}"


def _name_user(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
