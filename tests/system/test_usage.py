"""What a process has used: its own peak and not its parent's, and the time of its children."""

import re
import subprocess
import sys
import time

import pytest

from covbench.system.usage import busy_seconds, peak_memory_mb, processor_seconds

ASK = "from covbench.system.usage import peak_memory_mb; print(peak_memory_mb())"


def test_the_peak_is_that_of_this_program_and_not_of_the_process_that_started_it():
    large = bytearray(b"x") * (400 << 20)
    assert peak_memory_mb() > 400
    child = int(subprocess.check_output([sys.executable, "-c", ASK]))
    assert len(large) >> 20 == 400
    assert child < 200


GIVES_BACK = """
from covbench.system.usage import peak_memory_mb
peaks = [peak_memory_mb()]
large = bytearray(b"x") * (400 << 20)
peaks.append(peak_memory_mb())
del large
peaks.append(peak_memory_mb())
print(*peaks)
"""


def test_the_peak_stays_when_memory_is_given_back():
    before, during, after = map(int, subprocess.check_output([sys.executable, "-c", GIVES_BACK]).split())
    assert before + 390 < during
    assert abs(after - during) <= 1  # Linux counts pages per processor: its peak is off by some of them


def test_the_time_of_children_counts_once_they_have_ended():
    before, own = processor_seconds(), time.process_time()
    subprocess.run([sys.executable, "-c", "sum(range(10**7))"], check=True)
    assert processor_seconds() - before > time.process_time() - own + 0.05


def test_the_machine_is_busy_at_least_as_long_as_this_process():
    busy, own = busy_seconds(), time.process_time()
    while time.process_time() - own < 0.5:
        pass
    assert busy_seconds() - busy > 0.45  # it is counted in hundredths


LOG = """
import logging, sys
from covbench.schema import CovbenchError
from covbench.system.logs import log_to
log_to(sys.argv[1])
sum(range(10**7))
logging.info("works")
if sys.argv[2:]:
    raise CovbenchError("no such file")
"""


@pytest.mark.parametrize("fails", [[], ["fails"]])
def test_the_last_line_of_a_log_says_what_the_job_used(tmp_path, fails):
    log = tmp_path / "job.log"
    subprocess.run([sys.executable, "-c", LOG, log, *fails], check=not fails, stderr=subprocess.DEVNULL)
    *_, before, last = log.read_text().splitlines()
    seconds, megabytes = re.search(r"used ([\d.]+) s of processor time and at most (\d+) MB of memory$", last).groups()
    assert 0 < float(seconds) < 60
    assert 10 < int(megabytes) < 500
    assert before.endswith("no such file" if fails else "works")
