"""Two processes fetch one dataset at once, from two working folders that share data/, and some are killed."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from covbench.data.sources import fetch_dataset
from covbench.data.sources.fetch_lock import lock_fetch
from covbench.schema import Card, CovbenchError, Synthetic
from tests.small_datasets import make_card, read_tree, write_tree

FILES = {f"folder_{number % 7}/{number:04d}.png": b"%d" % number * 50 for number in range(1200)}
LONGEST = 1.5  # seconds after which the last kill comes
FORK = multiprocessing.get_context("fork")


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


def run_trial(root: Path, number: int, mirror: Path, files: dict[str, bytes]) -> str:
    """Say what is wrong after two fetches at once, of which one is killed in two of three trials, and a later fetch."""
    drawn = number % 2 == 1
    name = "drawn" if drawn else "covid_ct"
    card = make_card(Synthetic(lambda folder: write_tree(folder, files))) if drawn else make_card()
    workplaces = share_data(root)
    both = [start(place, name, card, None if drawn else mirror) for place in workplaces]
    if number % 3:
        time.sleep(random.Random(number).uniform(0, LONGEST * len(files) / len(FILES)))
        os.kill(both[number % 2].pid, signal.SIGKILL)
    for process in both:
        process.join()
    raw = root / "shared" / "raw" / name
    wrong = []
    if any(process.exitcode == 0 for process in both) and (not raw.is_dir() or read_tree(raw) != files):
        wrong.append(f"{len(read_tree(raw))} files after exit codes {[process.exitcode for process in both]}")
    if any(process.exitcode not in (0, -signal.SIGKILL) for process in both):
        wrong.append(f"exit codes {[process.exitcode for process in both]}")
    later = start(workplaces[0], name, card, None if drawn else mirror)
    later.join()
    if later.exitcode != 0 or read_tree(raw) != files:
        wrong.append(f"later fetch: exit code {later.exitcode}, {len(read_tree(raw))} files")
    left = {path.name for path in raw.parent.iterdir()} - {name, f"{name}.manifest.json", ".manifests", ".locks"}
    if left - {".downloads"}:
        wrong.append(f"left behind: {sorted(left)}")
    return "; ".join(wrong)


def run_trials(folder: Path, numbers: range, files: dict[str, bytes] = FILES) -> dict[int, str]:
    """What is wrong, by number of the trial, of those in which something is."""
    mirror = folder / "mirror"
    write_tree(mirror / "COVID-CT", files)
    found = {number: run_trial(folder / str(number), number, mirror, files) for number in numbers}
    return {number: wrong for number, wrong in found.items() if wrong}


def test_two_fetches_at_once_and_a_kill_leave_a_whole_dataset(tmp_path):
    assert run_trials(tmp_path, range(4), dict(list(FILES.items())[:100])) == {}


@pytest.mark.slow
@pytest.mark.exhaustive
def test_forty_trials_of_two_fetches_and_random_kills_leave_a_whole_dataset(tmp_path):
    assert run_trials(tmp_path, range(40)) == {}


def test_a_fetch_waits_for_the_one_that_holds_the_lock_and_says_who_it_is(tmp_path, caplog):
    raw = tmp_path / "raw" / "drawn"
    card = make_card(Synthetic(lambda folder: write_tree(folder, {"a.png": b"a"})))
    held, let_go = FORK.Event(), FORK.Event()

    def hold() -> None:
        with lock_fetch(raw):
            held.set()
            let_go.wait()

    holder = FORK.Process(target=hold)
    holder.start()
    held.wait()
    threading.Timer(0.3, let_go.set).start()
    with caplog.at_level(logging.INFO):
        fetch_dataset("drawn", card, raw, None)
    holder.join()
    assert f"waits: process {holder.pid} on " in caplog.text
    assert read_tree(raw) == {"a.png": b"a"}


def test_what_killed_fetches_left_is_removed_and_a_folder_that_was_being_replaced_comes_back(tmp_path):
    raw = tmp_path / "raw" / "drawn"
    card = make_card(Synthetic(lambda folder: write_tree(folder, {"a.png": b"a"})))
    fetch_dataset("drawn", card, raw, None)
    raw.rename(raw.with_name(".drawn.old"))  # killed between the two renames
    left = (".drawn.new/a.png", ".drawn.x1y2.new/drawn/a.png", ".77.drawn.manifest.json", ".manifests/.77.drawn.json")
    write_tree(raw.parent, dict.fromkeys(left, b"half"))
    card = make_card(Synthetic(lambda folder: write_tree(folder, {"b.png": b"b"})))
    with pytest.raises(CovbenchError, match=r"differ from those that .* brought before"):
        fetch_dataset("drawn", card, raw, None)
    assert read_tree(raw) == {"a.png": b"a"}
    assert {path.name for path in raw.parent.iterdir()} == {"drawn", "drawn.manifest.json", ".manifests", ".locks"}
    assert [path.name for path in (raw.parent / ".manifests").iterdir()] == ["drawn.json"]


def test_a_dataset_that_holds_the_same_files_stays_in_place_for_those_who_read_it(tmp_path):
    mirror = write_tree(tmp_path / "mirror", {"COVID-CT/a.png": b"a"})
    raw = tmp_path / "raw" / "covid_ct"
    fetch_dataset("covid_ct", make_card(), raw, mirror)
    before = raw.stat().st_ino
    fetch_dataset("covid_ct", make_card(), raw, mirror)
    assert raw.stat().st_ino == before


def test_a_link_in_place_of_the_dataset_is_replaced_and_what_it_leads_to_stays(tmp_path):
    write_tree(tmp_path, {"mirror/COVID-CT/a.png": b"new", "elsewhere/a.png": b"old"})
    raw = tmp_path / "raw" / "covid_ct"
    raw.parent.mkdir()
    raw.symlink_to(tmp_path / "elsewhere")
    fetch_dataset("covid_ct", make_card(), raw, tmp_path / "mirror")
    assert not raw.is_symlink()
    assert read_tree(raw) == {"a.png": b"new"}
    assert read_tree(tmp_path / "elsewhere") == {"a.png": b"old"}
    assert not list(raw.parent.glob(".covid_ct*"))
