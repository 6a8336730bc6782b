"""What this process has used of the machine so far."""

from __future__ import annotations

import re
import resource
import time
from pathlib import Path

STATUS = Path("/proc/self/status")


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
