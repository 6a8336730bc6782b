"""Two processes fetch one dataset at once, from two working folders that share data/, and some are killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

from covbench.data.sources import fetch_dataset
from covbench.schema import Card, Synthetic
from tests.small_datasets import make_card, read_tree, write_tree

FILES = {f"folder_{number % 7}/{number:04d}.png": b"%d" % number * 50 for number in range(1200)}
LONGEST = 1.5  # seconds after which the last kill comes; a fetch takes about a third of it
FORK = multiprocessing.get_context("fork")


def draw(folder: Path) -> None:
    write_tree(folder, FILES)


def fetch_in(workplace: Path, name: str, card: Card, mirror: Path | None) -> None:
    """What one process does: Snakemake's fetch job, in its own working folder."""
    os.chdir(workplace)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    fetch_dataset(name, card, Path("data/raw") / name, mirror)


def share_data(root: Path) -> tuple[Path, Path]:
    """Two working folders whose data/ is one folder."""
    (root / "shared").mkdir(parents=True)
    for name in ("one", "two"):
        (root / name).mkdir()
        (root / name / "data").symlink_to(root / "shared")
    return root / "one", root / "two"


def start(workplace: Path, name: str, card: Card, mirror: Path | None) -> multiprocessing.process.BaseProcess:
    process = FORK.Process(target=fetch_in, args=(workplace, name, card, mirror))
    process.start()
    return process


def run_trial(root: Path, number: int, mirror: Path) -> str:
    """Say what is wrong after two fetches at once, of which one is killed in two of three trials, and a later fetch."""
    random_source = random.Random(number)
    drawn = number % 2 == 1
    name = "drawn" if drawn else "covid_ct"
    card = make_card(Synthetic(draw)) if drawn else make_card()
    workplaces = share_data(root)
    both = [start(place, name, card, None if drawn else mirror) for place in workplaces]
    if number % 3:
        time.sleep(random_source.uniform(0, LONGEST))
        os.kill(both[number % 2].pid, signal.SIGKILL)
    for process in both:
        process.join()
    raw = root / "shared" / "raw" / name
    wrong = []
    if any(process.exitcode == 0 for process in both) and (not raw.is_dir() or read_tree(raw) != FILES):
        wrong.append(f"{len(read_tree(raw))} files after exit codes {[process.exitcode for process in both]}")
    if any(process.exitcode not in (0, -signal.SIGKILL) for process in both):
        wrong.append(f"exit codes {[process.exitcode for process in both]}")
    later = start(workplaces[0], name, card, None if drawn else mirror)
    later.join()
    if later.exitcode != 0 or read_tree(raw) != FILES:
        wrong.append(f"later fetch: exit code {later.exitcode}, {len(read_tree(raw))} files")
    left = {path.name for path in raw.parent.iterdir()} - {name, f"{name}.manifest.json", ".manifests", ".locks"}
    if left - {".downloads"}:
        wrong.append(f"left behind: {sorted(left)}")
    return "; ".join(wrong)


def run_trials(folder: Path, numbers: range) -> dict[int, str]:
    """What is wrong, by number of the trial, of those in which something is."""
    mirror = folder / "mirror"
    write_tree(mirror / "COVID-CT", FILES)
    found = {number: run_trial(folder / str(number), number, mirror) for number in numbers}
    return {number: wrong for number, wrong in found.items() if wrong}


def test_two_fetches_at_once_and_a_kill_leave_a_whole_dataset(tmp_path):
    assert run_trials(tmp_path, range(4)) == {}


@pytest.mark.slow
def test_forty_trials_of_two_fetches_and_random_kills_leave_a_whole_dataset(tmp_path):
    assert run_trials(tmp_path, range(40)) == {}
