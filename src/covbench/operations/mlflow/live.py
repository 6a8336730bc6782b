"""Send learning curves to MLflow while a run trains, from a separate process that the training never waits for.

What arrives is a preview: rule `track` copies everything in the end. A store that is down, slow or restarted therefore
costs a training only the start of that process, and at most `LAST_SECONDS` at its end.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import pandas as pd

from covbench.schema import Run

log = logging.getLogger(__name__)

LAST_SECONDS = 5
"""Time to send the rest when a training has ended."""


@contextmanager
def follow_run(tracking: Mapping[str, Any], run: Run, fingerprint: str) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Send the learning curves of a run to MLflow while it trains.

    Nothing is sent unless `live` is set. Nothing is sent to a SQLite file from a cluster either: several nodes would
    damage the file on a shared file system.

    Args:
        tracking: the section `tracking` of the config.
        run: the run.
        fingerprint: of its inputs.

    Yields:
        A function to call after each epoch with the learning curves so far (schema.HISTORY_COLUMNS).
    """
    if not tracking.get("live") or ("SLURM_JOB_ID" in os.environ and tracking["uri"].startswith("sqlite")):
        yield lambda curves: None
        return
    command = [
        sys.executable,
        "-m",
        "covbench.operations.mlflow.live_process",
        tracking["uri"],
        json.dumps(vars(run)),
        fingerprint,
    ]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    follower = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=hidden)
    assert follower.stdin
    pipe = follower.stdin.fileno()
    os.set_blocking(pipe, False)
    sent = 0

    def send(curves: pd.DataFrame) -> None:
        nonlocal sent
        with suppress(OSError):  # the follower has ended, or the pipe is full, with thousands of epochs
            os.write(pipe, (curves.iloc[sent:].to_json(orient="records") + "\n").encode())
        sent = max(sent, len(curves))

    try:
        yield send
        send(pd.DataFrame())
    finally:
        missing = sent - _end(follower)
        if missing > 0:
            log.warning("MLflow does not show %d of %d epochs yet; rule track will copy them", missing, sent)


def _end(follower: subprocess.Popen[bytes]) -> int:
    """End the follower. Returns how many epochs it has said that MLflow holds.

    What else it may have left to do, rule track does too: to set the status of the run.
    """
    assert follower.stdin
    with suppress(OSError):
        follower.stdin.close()
    try:
        follower.wait(LAST_SECONDS)
    except subprocess.TimeoutExpired:
        follower.kill()
        follower.wait()
    assert follower.stdout
    counts = [int(line) for line in follower.stdout.read().split() if line.isdigit()]
    return max(counts, default=0)
