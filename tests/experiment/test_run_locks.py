"""Asking whether a run is being written: true while it is, and never in the way of a training that starts."""

import fcntl
import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pytest

from covbench.experiment.run_locks import is_running, lock_run, run_checkpoints
from covbench.schema import Run

RUN = Run("phantom_xray", "audited", "small_cnn", 0)
STARTS = 200
HOLD = """
import sys, time
from covbench.experiment.run_locks import lock_run, run_checkpoints
from covbench.schema import Run
with lock_run(run_checkpoints(Run("phantom_xray", "audited", "small_cnn", 0))):
    print("held", flush=True)
    sys.stdin.readline()
"""


def hold(folder):
    """A process that writes the run until it is told to end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def probe(folder, ready, stop, counts, number):
    """Ask without pause until told to stop."""
    ready.wait(timeout=60)
    while not stop.is_set():
        is_running(RUN, folder)
        counts[number] += 1


def start_repeatedly(folder, ready, refused, longest):
    """Start the run STARTS times, each time as a training does: without waiting for another writer."""
    os.chdir(folder)
    ready.wait(timeout=60)
    for _ in range(STARTS):
        began = time.monotonic()
        try:
            with lock_run(run_checkpoints(RUN)):
                longest.value = max(longest.value, time.monotonic() - began)
        except Exception:
            refused.value += 1


def test_probes_without_pause_refuse_none_of_200_starts_and_hold_none_up(tmp_path):
    context = multiprocessing.get_context("spawn")
    probes = 3
    ready, stop = context.Barrier(probes + 1), context.Event()
    counts, refused, longest = context.Array("i", probes), context.Value("i", 0), context.Value("d", 0.0)
    (tmp_path / run_checkpoints(RUN)).mkdir(parents=True)
    probers = [
        context.Process(target=probe, args=(tmp_path, ready, stop, counts, number), daemon=True)
        for number in range(probes)
    ]
    starter = context.Process(target=start_repeatedly, args=(tmp_path, ready, refused, longest), daemon=True)
    for process in (*probers, starter):
        process.start()
    starter.join(timeout=120)
    stop.set()
    for process in probers:
        process.join(timeout=60)
    assert [process.exitcode for process in (*probers, starter)] == [0] * (probes + 1)
    assert refused.value == 0
    assert min(counts) > STARTS, "the probes hardly ran: this test proves nothing"
    assert longest.value < 5


def test_a_training_that_starts_in_the_instant_of_a_probe_is_not_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with lock_run(run_checkpoints(RUN)):
        pass  # a former writer has left its lock files
    started = []

    def start():
        with lock_run(run_checkpoints(RUN)):
            started.append(True)

    training = threading.Thread(target=start)

    def lock_and_linger(file, how, flock=fcntl.flock):
        flock(file, how)
        monkeypatch.setattr(fcntl, "flock", flock)
        training.start()
        time.sleep(0.3)

    monkeypatch.setattr(fcntl, "flock", lock_and_linger)
    is_running(RUN)
    training.join(timeout=30)
    assert started == [True]


@pytest.mark.parametrize("ends_by", ["itself", "SIGKILL"])
def test_a_run_is_being_written_while_a_process_holds_it_and_neither_before_nor_after(tmp_path, ends_by):
    assert not is_running(RUN, tmp_path)
    process = hold(tmp_path)
    assert is_running(RUN, tmp_path)
    assert is_running(RUN, tmp_path)
    if ends_by == "itself":
        process.communicate("\n", timeout=60)
        assert process.returncode == 0
    else:
        process.kill()
        process.communicate(timeout=60)
    assert not is_running(RUN, tmp_path)


def test_another_run_is_not_the_one_that_is_being_written(tmp_path):
    process = hold(tmp_path)
    assert not is_running(Run("phantom_xray", "audited", "small_cnn", 1), tmp_path)
    process.communicate("\n", timeout=60)
