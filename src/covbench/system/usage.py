"""What this process has used of the machine so far."""

from __future__ import annotations

import os
import re
import resource
import time
from pathlib import Path

STATUS = Path("/proc/self/status")
STAT = Path("/proc/stat")
BUSY = (0, 1, 2, 5, 6)  # columns of its first line: user, nice, system, interrupts of hardware and of software


def peak_memory_mb() -> int:
    """Return the largest resident memory that this process has had, in MB of 2**20 bytes, mapped files included.

    Linux is asked for the peak of this program alone: `ru_maxrss` starts at the memory of the process that started it.
    """
    found = re.search(r"^VmHWM:\s*(\d+)", STATUS.read_text(), re.MULTILINE) if STATUS.exists() else None
    kilobytes = int(found[1]) if found else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(kilobytes / 1024)


def processor_seconds() -> float:
    """Return the processor time of this process and of its children that have ended, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def busy_seconds() -> float:
    """Return the time that all processors of this machine have worked since it started; 0 where Linux does not say."""
    try:
        ticks = STAT.read_text().splitlines()[0].split()[1:]
    except (OSError, IndexError):
        return 0.0
    return sum(int(ticks[column]) for column in BUSY) / os.sysconf("SC_CLK_TCK")
