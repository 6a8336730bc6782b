"""What a training learns from the process that sends its epochs to MLflow."""

from __future__ import annotations

import subprocess
import sys

import pytest

from covbench.operations.mlflow import live

SENDS = "import sys, time; print({}, flush=True); sys.stdin.read(); time.sleep({})"


@pytest.mark.parametrize(("said", "closing"), [("'1\\n2'", 60), ("3", 0)], ids=["slow to close", "closed"])
def test_epochs_that_have_arrived_count_even_if_the_run_is_not_closed_in_time(monkeypatch, said, closing):
    monkeypatch.setattr(live, "LAST_SECONDS", 2)
    command = [sys.executable, "-c", SENDS.format(said, closing)]
    follower = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert follower.stdout
    first = follower.stdout.peek(1)  # type: ignore[attr-defined]
    assert first, "it has said something before its training ends"
    assert live._end(follower) == (2 if closing else 3)
    assert follower.returncode is not None
