"""Handle SIGTERM and SIGINT: a training saves its state and exits with a code that tells a scheduler to retry."""

from __future__ import annotations

import logging
import signal
from types import FrameType, TracebackType
from typing import Self

log = logging.getLogger(__name__)

INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: try again later


class Interruption:
    """A context in which SIGTERM and SIGINT exit at once with code 75, unless something is unsaved.

    If something is unsaved, the signals only set `requested`. The code that set `unsaved` then saves and calls `leave`
    at its next safe point, between two training steps. After the decision to exit, the code is 75 whatever becomes of
    the exception on its way: TensorFlow turns one that is raised while it traces a function into a SystemError.
    """

    def __init__(self) -> None:
        self.requested = False
        self.unsaved = False
        self._leaving = False

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._leaving and not isinstance(error, SystemExit):
            raise SystemExit(INTERRUPTED) from error

    def _hear(self, number: int, frame: FrameType | None) -> None:
        log.warning("%s received", signal.Signals(number).name)
        self.requested = True
        if not self.unsaved:
            self.leave()

    def leave(self) -> None:
        """Raise SystemExit with code 75. A restart of the run resumes from its last checkpoint."""
        self._leaving = True
        log.warning("interrupted: a restart of this run resumes from its last checkpoint")
        raise SystemExit(INTERRUPTED)
