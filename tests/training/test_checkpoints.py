"""What is written between two restarts of a training: whole, verified, at most two of them; one writer a run."""

import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from covbench.experiment.run_locks import lock_run
from covbench.schema import CovbenchError
from covbench.training.checkpoints import keep_outputs, load_state, publish_kept, save_state
from tests.small_disk import needs_small_disk, on_small_disk


def a_state(number, size=1000):
    return {"model": [np.full(size, number, np.float32), np.arange(3)], "best": []}, {"epoch": number, "loss": 0.1}


def run_python(code, *command):
    return subprocess.run([*command, sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_the_newest_state_comes_back_as_it_was_saved_and_two_are_kept(tmp_path):
    for number in range(4):
        save_state(tmp_path, *a_state(number))
    arrays, facts = load_state(tmp_path)
    assert facts == {"epoch": 3, "loss": 0.1}
    np.testing.assert_array_equal(arrays["model"][0], np.full(1000, 3, np.float32))
    assert arrays["model"][0].dtype == np.float32
    assert len(list(tmp_path.iterdir())) == 2


def test_no_state_is_none(tmp_path):
    assert load_state(tmp_path / "nowhere") is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_state_is_named_and_the_one_before_it_taken(tmp_path, caplog, damage):
    save_state(tmp_path, *a_state(1))
    newest = save_state(tmp_path, *a_state(2))
    whole = newest.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    newest.write_bytes({"cut": whole[:-100], "flip": flipped, "empty": b""}[damage])
    assert load_state(tmp_path)[1]["epoch"] == 1
    assert newest.name in caplog.text


def test_no_flipped_bit_of_an_array_goes_unnoticed(tmp_path):
    path = save_state(tmp_path, {"model": [np.arange(500, dtype=np.float32)]}, {})
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
        found = load_state(tmp_path)
        assert found is None or np.array_equal(found[0]["model"][0], np.arange(500))


def save_states_on_a_disk(size, folder, code):
    """Run `code`, which saves by save(number, megabytes), on a real file system of its own; its output's lines."""
    program = f"""
from pathlib import Path
import numpy as np
from covbench.training import checkpoints
from covbench.schema import CovbenchError
folder = Path({str(folder)!r})
def save(number, megabytes):
    array = np.full(megabytes * 250_000, number, np.float32)
    checkpoints.save_state(folder, {{"model": [array]}}, {{"number": number}})
def show():
    print(checkpoints.load_state(folder)[1]["number"], *sorted(path.name for path in folder.iterdir()))
{code}"""
    done = run_python(program, *on_small_disk(size, folder))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@needs_small_disk
def test_a_full_disk_leaves_the_last_good_state_and_says_how_much_is_missing(tmp_path):
    code = """
try:
    for number in range(9):
        save(number, megabytes=20)
except CovbenchError as error:
    print(error)
show()"""
    message, last = save_states_on_a_disk("100m", tmp_path, code)
    assert "state-000003.npz; the last good one stays" in message
    assert "needs 20.0 MB and 50.0 MB to spare" in message
    assert "5.1 MB too little" in message  # 100 MiB less two states
    assert last == "1 state-000001.npz state-000002.npz"


@needs_small_disk
def test_a_disk_that_fills_up_while_saving_leaves_no_half_state(tmp_path):
    code = """
checkpoints.require_space = lambda *_: None  # as when another program takes the room after the check
save(0, megabytes=2)
try:
    save(1, megabytes=20)
except CovbenchError as error:
    print(error)
show()"""
    message, last = save_states_on_a_disk("10m", tmp_path, code)
    assert "no space left while writing the training state state-000002.npz" in message
    assert last == "0 state-000001.npz"


HOLD = """
import logging, sys, time
from pathlib import Path
from covbench.experiment.run_locks import lock_run
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
with lock_run(Path(sys.argv[1]), wait=True):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(folder):
    return subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)


def test_a_second_writer_of_a_run_is_refused_until_the_first_one_is_gone(tmp_path):
    with hold(tmp_path) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(CovbenchError, match=f"process {first.pid} on .* is writing this run"), lock_run(tmp_path):
            pass
        first.kill()
    with lock_run(tmp_path):
        pass


def test_a_second_writer_that_waits_goes_on_when_the_first_one_is_gone(tmp_path):
    with hold(tmp_path) as first:
        assert first.stdout.readline() == "held\n"
        with hold(tmp_path) as second:
            said = f"waits: process {first.pid} on {socket.gethostname()} is writing this run\n"
            assert second.stdout.readline() == said
            first.kill()
            assert second.stdout.readline() == "held\n"
            second.kill()


def test_kept_outputs_come_back_newer_than_before_and_cost_no_space(tmp_path):
    outputs = {"model": str(tmp_path / "results/model.keras"), "manifest": str(tmp_path / "results/manifest.json")}
    Path(outputs["model"]).parent.mkdir()
    for name, path in outputs.items():
        Path(path).write_text(name)
    folder, other = tmp_path / "checkpoints/this", tmp_path / "checkpoints/another"
    save_state(folder, *a_state(1))
    save_state(other, *a_state(1))
    assert not publish_kept(folder, outputs)
    keep_outputs(folder, outputs)
    assert not other.exists()
    assert load_state(folder) is None
    assert Path(outputs["model"]).stat().st_nlink == 2
    before = Path(outputs["model"]).stat().st_mtime_ns
    for path in outputs.values():
        Path(path).unlink()
    assert publish_kept(folder, outputs)
    assert [Path(path).read_text() for path in outputs.values()] == list(outputs)
    assert Path(outputs["model"]).stat().st_mtime_ns > before
