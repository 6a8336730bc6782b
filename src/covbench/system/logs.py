"""Send a job's output to its log file, and show mistakes of the user without a traceback."""

from __future__ import annotations

import atexit
import logging
import os
import re
import sys
from pathlib import Path
from typing import TextIO

from covbench.schema import CovbenchError
from covbench.system.disk import describe_full_disk, is_full_disk
from covbench.system.usage import peak_memory_mb, processor_seconds

USED = "used %.1f s of processor time and at most %d MB of memory"

NOTICES = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\)"
    rb"|I0000 .* oneDNN custom operations are on\."
    rb"|E0000 .* oneDNN supports DT_\w+ only on platforms with AVX-512\."
    rb"|W0000 .* tf_tfl_flatbuffer_helpers\.cc:\d+\] Ignored \w+\."
    rb"|INFO: Created TensorFlow Lite XNNPACK delegate for CPU\."
)
"""How the lines start that TensorFlow writes on every machine that is in order, whatever TF_CPP_MIN_LOG_LEVEL says.

The first two come while the library is loaded, before it reads the variable. The third says at the level of errors that
a kernel has another implementation. The last two come from TensorFlow Lite, which reads no such variable.
"""


class _Tee:
    """A text stream that writes to two others; progress bars see the terminal through it."""

    def __init__(self, first: TextIO, second: TextIO) -> None:
        self.first, self.second = first, second

    def write(self, text: str) -> int:
        self.second.write(text)
        return self.first.write(text)

    def flush(self) -> None:
        self.first.flush()
        self.second.flush()

    def isatty(self) -> bool:
        return self.first.isatty()


def log_to(path: str, show_progress: bool = False) -> None:
    """Send this process's output, that of native libraries included, to the file `path`. The last line is USED.

    When the process ends, TensorFlow's NOTICES are removed from the file.

    show_progress: whether the output also appears on the terminal.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    terminal = os.fdopen(os.dup(2), "w", buffering=1)
    log = open(path, "w+", buffering=1, encoding="utf-8")  # noqa: SIM115 (open as long as the process lives)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    if show_progress:
        sys.stderr = _Tee(terminal, log)  # type: ignore[assignment]
    if not (show_progress and terminal.isatty()):
        os.environ.setdefault("TQDM_MININTERVAL", "30")  # seconds: a line now and then is enough for a file
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", force=True
    )
    logging.getLogger().handlers[0].addFilter(_says_something)
    sys.excepthook = _report_error
    atexit.register(_report_use)
    atexit.register(_remove_notices, log)  # runs first


def _says_something(record: logging.LogRecord) -> bool:
    """Whether a line is more than a note of TensorFlow Lite about its converter."""
    return record.name != "absl" or record.levelno > logging.INFO


def _report_use() -> None:
    logging.getLogger("covbench").info(USED, processor_seconds(), peak_memory_mb())


def _remove_notices(log: TextIO) -> None:
    """Remove TensorFlow's notices from a log that has ended. A process that crashes leaves its log as it is."""
    log.flush()
    content = os.pread(log.fileno(), os.fstat(log.fileno()).st_size, 0)
    kept = b"".join(line for line in content.splitlines(keepends=True) if not NOTICES.match(line))
    if kept != content:
        os.pwrite(log.fileno(), kept, 0)
        os.ftruncate(log.fileno(), len(kept))
        os.lseek(log.fileno(), len(kept), os.SEEK_SET)  # the position of standard output and standard error too


def _report_error(kind: type[BaseException], error: BaseException, trace: object) -> None:
    if issubclass(kind, CovbenchError):
        logging.getLogger("covbench").error("%s", error)
    elif is_full_disk(error):
        name = getattr(error, "filename", None)
        folder = Path(os.fsdecode(name)).parent if name else Path()
        logging.getLogger("covbench").error(
            "%s", describe_full_disk(folder if folder.is_dir() else Path(), str(name or "a file"))
        )
    else:
        sys.__excepthook__(kind, error, trace)  # type: ignore[arg-type]
