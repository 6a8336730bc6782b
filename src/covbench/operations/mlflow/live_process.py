"""The process behind operations.mlflow.live: it sends learning curves from standard input to MLflow.

python -m covbench.operations.mlflow.live_process URI RUN FINGERPRINT

Each line is a JSON list of epochs. An empty list means that the training has finished. After each line, the number of
epochs that MLflow holds is written to standard output.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from covbench.system.addresses import hide_passwords

IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
PAUSE = 15.0
"""Seconds without an attempt after a failure. Each further failure in a row doubles them."""

Epoch = Mapping[str, Any]

log = logging.getLogger(__name__)


class Breaker:
    """Sends epochs through `send`. After a failure, it keeps them and waits for a while before the next attempt."""

    def __init__(self, send: Callable[[Iterable[Epoch]], None]) -> None:
        self.send = send
        self.waiting: list[Epoch] = []
        self.failures = 0
        self.silent_until = 0.0

    def offer(self, epochs: Iterable[Epoch], now: float) -> None:
        """Send these epochs and all that wait, unless the last failure is too recent."""
        self.waiting += epochs
        if now < self.silent_until:
            return
        try:
            self.send(self.waiting)
        except Exception as error:  # only a preview: no error here may reach the training
            pause = PAUSE * 2**self.failures
            self.silent_until, self.failures = now + pause, self.failures + 1
            log.warning("MLflow: %s; silent for %.0f s", hide_passwords(str(error)).splitlines()[0][:200], pause)
        else:
            self.waiting, self.failures = [], 0


class Follower:
    """The MLflow run of a training. Its cell of the grid and its fingerprint identify it."""

    def __init__(self, uri: str, run: Mapping[str, Any], fingerprint: str) -> None:
        self.uri, self.run, self.fingerprint = uri, run, fingerprint
        self.client: Any = None
        self.run_id = ""
        self.held: set[int] = set()
        self.times: dict[int, int] = {}
        self.monitor: Any = None

    def send(self, epochs: Iterable[Epoch]) -> None:
        """Log the epochs that MLflow does not hold yet, with the time of the first attempt.

        An attempt can arrive although its answer does not. MLflow drops a repeated point only if its time is the same.
        """
        from mlflow.entities import Metric

        if not self.run_id:
            self.open()
        now = round(time.time() * 1000)
        for row in epochs:
            step = int(row["epoch"])
            if step in self.held:
                continue
            numbers = {name: value for name, value in row.items() if isinstance(value, int | float) and name != "epoch"}
            first = self.times.setdefault(step, now)
            points = [Metric(f"epoch/{name}", float(value), first, step) for name, value in numbers.items()]
            self.client.log_batch(self.run_id, metrics=points)
            self.held.add(step)

    def open(self) -> None:
        """Find or create the run, mark it as running, and start to monitor the machine."""
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        from covbench.operations.mlflow import store

        store.prepare_new_store(self.uri)
        self.client = store.open_client(self.uri)
        experiment = store.find_experiment(self.client, self.run["task"], self.uri)
        key = "/".join(str(self.run[part]) for part in ("task", "protocol", "architecture", "seed"))
        tags = {
            store.RUN_TAG: key,
            store.FINGERPRINT_TAG: self.fingerprint,
            store.FOLDER_TAG: store.show_path(Path.cwd()),
        }
        wanted = f"tags.`{store.RUN_TAG}` = '{key}' and tags.`{store.FINGERPRINT_TAG}` = '{self.fingerprint}'"
        found = next(store.search_runs(self.client, experiment, wanted), None)
        if found is None:
            found = self.client.create_run(experiment, tags=tags, run_name=key.split("/", 1)[1])
        run_id = found.info.run_id
        self.client.update_run(run_id, status="RUNNING")
        if "epoch/loss" in found.data.metrics:
            self.held = {point.step for point in self.client.get_metric_history(run_id, "epoch/loss")}
        self.monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=self.uri)
        self.monitor.start()
        self.run_id = run_id

    def end(self, status: str) -> None:
        """Set how the training ended, if there is a run in MLflow."""
        if self.run_id:
            self.monitor.finish()
            self.client.set_terminated(self.run_id, status)


def follow(lines: Iterable[str], follower: Follower, report: Callable[[int], None]) -> None:
    """Send the epochs of each line, and report how many epochs MLflow holds.

    The last line of a training is an empty list. Without it, the training was killed.

    Args:
        lines: a JSON list of epochs each.
        follower: sends epochs to MLflow.
        report: is called with the number of epochs that MLflow holds.
    """
    breaker, status = Breaker(follower.send), "KILLED"
    for line in lines:
        epochs = json.loads(line)
        status = "KILLED" if epochs else "FINISHED"
        breaker.offer(epochs, time.monotonic())
        report(len(follower.held))
    breaker.offer([], math.inf)
    report(len(follower.held))
    if not breaker.waiting:
        follower.end(status)


def _open_report() -> Callable[[int], None]:
    """Open standard output for numbers alone: what libraries print goes to standard error."""
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def report(epochs: int) -> None:
        with suppress(BrokenPipeError):  # the training was killed
            os.write(output, f"{epochs}\n".encode())

    return report


def main() -> None:
    """Follow one training. Signals are ignored here: the training handles them, and its end ends this process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    os.nice(10)
    os.environ.update(IMPATIENT)
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # otherwise it says when it watches the machine
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    uri, run, fingerprint = sys.argv[1:]
    follow(sys.stdin, Follower(uri, json.loads(run), fingerprint), _open_report())


if __name__ == "__main__":
    main()
