"""Let one process at a time fetch a dataset or a weight file, also from several working folders that share data/."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from covbench.schema import CovbenchError

log = logging.getLogger(__name__)

LOCKS = ".locks"  # folder beside what is fetched; a lock file stays there, since removing it would free a second lock


@contextmanager
def lock_fetch(target: Path) -> Iterator[None]:
    """Hold the lock of `target`, a folder or file to be fetched, and wait while another process holds it.

    The lock is an flock on `.locks/{name}` beside `target`. The kernel frees it when its holder and the processes that
    the holder forked have ended, even if they are killed. Raises CovbenchError if the file system has no locks, or if
    this user may not write there.
    """
    path = target.parent / LOCKS / target.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115
    except PermissionError as error:
        raise CovbenchError(
            f"{path}: this user may not write there, so {target.name} cannot be fetched; give the group write "
            "permission, or let the owner of the folder fetch"
        ) from error
    with file:
        _acquire(file, path)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _acquire(file: IO[str], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        log.info("waits: %s is fetching %s", file.read().strip() or "another process", path.name)
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        raise CovbenchError(
            f"{path}: the file system has no file locks ({error.strerror}); put data/ on one that has "
            "(a local disk, NFS 4, Lustre mounted with flock)"
        ) from error
