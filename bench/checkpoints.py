"""What checkpoints write: a head of 32 million parameters on a frozen backbone, against whole states every minute"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from bench.processes import call_fresh
from bench.rows import Row

MINUTES = (4, 60)  # of training


def measure() -> list[Row]:
    """Write the states of trainings, with the best and with the last epoch kept. Both sides save the same training."""
    return [row for best in (True, False) for row in _compare(best, call_fresh("bench.checkpoints:save_states", best))]


def _compare(best: bool, saved: dict[str, Any]) -> list[Row]:
    kept = "the best epoch kept" if best else "the last epoch kept"
    rows = []
    for minutes in MINUTES:
        ours, other = saved[f"ours {minutes}"], saved[f"before {minutes}"]
        rate, before = (side["bytes"] / 1e6 / minutes for side in (ours, other))
        note = (
            f"{ours['states']} states of {ours['bytes'] / 1e6:.0f} MB together against {other['states']} of "
            f"{other['bytes'] / 1e6:.0f}; written in {ours['seconds']:.1f} against {other['seconds']:.1f} s"
        )
        rows.append(
            Row(f"{minutes} minutes, {kept}", rate, before, "MB a minute of training", rate / before, "<= 0.1", note)
        )
    return rows


def save_states(best: bool) -> dict[str, dict[str, float]]:
    """Train the head for two steps, and write its states as trainings of MINUTES do, in the old and in the new way.

    The clock is played, a second between two steps. A state is written the first time that its kind is due; after that,
    its bytes and seconds count again.
    """
    from covbench.models.classifier import build_classifier
    from covbench.training.frozen_features import cut_classifier

    model = build_classifier("mobilenetv2_035", 224, 2, "dense_512_64", "unit", None)
    model.get_layer("backbone").trainable = False
    _, network = cut_classifier(model)
    features = np.random.default_rng(0).random((64, network.input_shape[1]), np.float32)
    network.compile("adam", "categorical_crossentropy")
    network.fit(features, np.eye(2, dtype=np.float32)[np.arange(64) % 2], batch_size=32, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        disk = _Disk(Path(folder))
        found = {}
        for minutes in MINUTES:
            for name, play in (("ours", _play_ours), ("before", _play_before)):
                disk.times.clear()
                play(model, network, best, minutes, disk)
                found[f"{name} {minutes}"] = disk.count()
    return found


def _play_ours(model: Any, network: Any, best: bool, minutes: int, disk: _Disk) -> None:
    from covbench.system.signals import Interruption
    from covbench.training import state

    clock = _Clock()
    with patch.object(state, "time", clock), patch.object(state, "save_state", disk.save):
        progress = state.Progress(phase="head", history=[{"val_loss": 1.0}])
        if best:
            progress.keep_best(model)
        checkpointer = state.Checkpointer(Path(), Interruption())
        for _ in range(minutes * 60):
            clock.seconds += 1
            checkpointer.worked()
            checkpointer.safe_point(model, network, progress)
        checkpointer.worked()
        checkpointer.save_kept(model, progress)


def _play_before(model: Any, network: Any, best: bool, minutes: int, disk: _Disk) -> None:
    """Save the whole model, the optimizer and the best weights every minute, the last one when the training ends."""
    from covbench.training.state import _values

    arrays = {"model": _values(model.variables), "optimizer": _values(network.optimizer.variables)}
    arrays["best"] = model.get_weights() if best else []
    for _ in range(minutes):
        disk.save(Path(), arrays, {})


class _Clock:
    """The module `time`, as far as a checkpointer asks it."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


class _Disk:
    """Writes a state of each kind once, and counts what all of them take."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written: dict[str, tuple[Path, float]] = {}
        self.times: dict[str, int] = defaultdict(int)

    def save(self, folder: Path, arrays: Any, facts: Any) -> Path:
        from covbench.training.checkpoints import save_state

        kind = "-".join(arrays)
        if kind not in self.written:
            started = time.perf_counter()
            path = save_state(self.folder / kind, arrays, facts)
            self.written[kind] = path, time.perf_counter() - started
        self.times[kind] += 1
        return self.written[kind][0]

    def count(self) -> dict[str, float]:
        sides = [
            (self.written[kind][0].stat().st_size, self.written[kind][1], times) for kind, times in self.times.items()
        ]
        return {
            "states": sum(times for _, _, times in sides),
            "bytes": sum(size * times for size, _, times in sides),
            "seconds": sum(seconds * times for _, seconds, times in sides),
        }
